// Command record runs the real Claude Code CLI as graf-runner starts it, against servers
// on loopback that answer by a script, and writes what it prints, trimmed, to a folder:
//
//	go run ./runner/agent/testdata/record FOLDER [SCENARIO…]
//
// It takes the program claude of PATH. No test runs it: see ../README.md.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/graf-run/graf/runner/agent"
)

// patience bounds a run.
const patience = 2 * time.Minute

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: record FOLDER [SCENARIO…]")
	}
	for _, s := range scenarios() {
		if names := os.Args[2:]; len(names) > 0 && !slices.Contains(names, s.name) {
			continue
		}
		if err := s.record(os.Args[1]); err != nil {
			log.Fatalf("%s: %v", s.name, err)
		}
	}
}

// record runs a scenario, and once more with its session if it has turns for that.
func (s scenario) record(out string) error {
	folder, err := os.MkdirTemp("", "record-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	model := &model{turns: s.turns}
	api, memory := httptest.NewServer(model), httptest.NewServer(http.HandlerFunc(serveMCP))
	defer api.CloseClientConnections()
	defer memory.CloseClientConnections()
	program, err := agent.New("claude")
	if err != nil {
		return err
	}
	task := agent.Task{Prompt: "Put a greeting into hello.txt.", Arguments: s.arguments, Session: s.session}
	if s.mcp {
		task.MCP = memory.URL + "/mcp"
	}
	run := run{folder: folder, environment: append(environment(folder, api.URL), s.environment...), stop: s.stop, filed: s.filed}
	if err := run.write(program, task, filepath.Join(out, s.name)); err != nil || s.again == nil {
		return err
	}
	task.Prompt, task.Session = "Go on: the connection to the model was lost.", run.session
	model.restart(s.again)
	return run.write(program, task, filepath.Join(out, s.name+"-again"))
}

// environment is all that the CLI is given.
func environment(folder, api string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(folder, "home"), "LANG=C.UTF-8",
		"ANTHROPIC_BASE_URL=" + api, "ANTHROPIC_API_KEY=sk-ant-scripted", "GRAF_CALLBACK_TOKEN=" + token,
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1",
	}
}

// run is the CLI in a folder.
type run struct {
	folder      string
	environment []string
	// stop tells it to end after so long, 0 for never.
	stop time.Duration
	// filed is whether what its session's file tells of usage is wanted.
	filed   bool
	session string
}

// write runs the CLI and writes NAME.jsonl, and NAME.session.jsonl if that is wanted.
func (r *run) write(program agent.Agent, task agent.Task, name string) error {
	work := filepath.Join(r.folder, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	printed, err := r.start(program.Start(task), work)
	if err != nil {
		return err
	}
	for line := range strings.Lines(printed) {
		for _, said := range program.Read(line) {
			r.session = max(r.session, said.Session)
		}
	}
	trim := trimmer{folder: work, session: r.session}
	if err := os.WriteFile(name+".jsonl", trim.all(printed), 0o644); err != nil || !r.filed {
		return err
	}
	files, err := filepath.Glob(filepath.Join(r.folder, "home/.claude/projects/*", r.session+".jsonl"))
	if err != nil || len(files) == 0 {
		return err
	}
	filed, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	return os.WriteFile(name+".session.jsonl", trim.usages(string(filed)), 0o644)
}

func (r *run) start(i agent.Invocation, work string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, i.Args[0], i.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = work, append(r.environment, i.Env...), strings.NewReader(i.Input), &stdout, &stderr
	cmd.SysProcAttr, cmd.WaitDelay = &syscall.SysProcAttr{Setpgid: true}, 2*time.Second
	if err := cmd.Start(); err != nil {
		return "", err
	}
	if r.stop > 0 {
		defer time.AfterFunc(r.stop, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }).Stop()
	}
	err := cmd.Wait()
	log.Printf("%v: %d bytes, standard error %q", err, stdout.Len(), stderr.String())
	if stdout.Len() == 0 {
		return "", fmt.Errorf("it printed nothing: %w", err)
	}
	return stdout.String(), nil
}
