//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/docstest"
	"github.com/graf-run/graf/shared/responsestest"
)

// reader is a newcomer who does what the quick start says, and nothing else.
type reader struct {
	root, folder string
	environment  []string
	// stop ends what runs in the background.
	stop func()
}

// TestQuickstart runs every command of docs/quickstart.md, those that need a language
// model against one by a script. The platform's data and ports are the test's own, and
// what the quick start puts into /tmp is elsewhere. The words of a block tell how to run
// it: "background" until a block is "stopped", "cluster" where the cluster is, "key" with a model.
func TestQuickstart(t *testing.T) {
	s := newSystem(t)
	root, err := filepath.Abs("..")
	must(t, err)
	r := &reader{root: root, folder: t.TempDir()}
	// Others can pass it, as Postgres needs where root may make no user namespace.
	must(t, os.Chmod(filepath.Dir(r.folder), 0o711))
	edit := responsestest.Executes(`sed -i 's/^\( *\)requests:$/\1limits:\n\1  memory: 512Mi\n&/' manifests/*.yaml`)
	learn := responsestest.CallsMCP("graf", "record_lesson", map[string]string{"lesson": "A memory limit of 512Mi does well."})
	model := responsestest.NewOn(t, func(handler http.Handler) string { return serve(t, s.address, handler) },
		edit, learn, responsestest.Says("It has a limit."), edit, learn, responsestest.Says("It has the same."),
		edit, responsestest.Says("It has one, too."), responsestest.Says("Hello."))
	r.environment = append(withoutGraf(os.Environ()), "DATA="+r.folder+"/data", "KEY=sk-scripted-0123456789abcdef",
		"AGENT_OPENAI_BASE_URL="+model.URL, "GRAF_CONFIG="+r.folder+"/graf.yaml",
		"GRAF_OVERLAY=deploy/overlays/e2e", // other tests go on with it
		"GRAF_CLUSTER_NETNS="+os.Getenv("GRAF_CLUSTER_NETNS"), "GRAF_CLUSTER_STATE="+os.Getenv("GRAF_CLUSTER_STATE"))
	t.Cleanup(func() { s.remove(t, secrets, graf, "graf-agent") })
	blocks := docstest.Blocks(t, "../docs/quickstart.md")
	if len(blocks) < 8 {
		t.Fatalf("%d blocks of commands: has docs/quickstart.md another form?", len(blocks))
	}
	for i, b := range blocks {
		name := fmt.Sprintf("%d %s: %s", i+1, strings.Join(b.Words, " "), strings.SplitN(b.Commands, "\n", 2)[0])
		ok := t.Run(name, func(t *testing.T) {
			if b.Has("background") {
				return
			}
			if b.Has("stopped") {
				r.stop()
			}
			t.Log(r.run(t, b))
		})
		if b.Has("background") {
			r.background(t, b)
		}
		if !ok {
			return
		}
	}
	if left := model.Left(); left > 0 {
		t.Errorf("the model was not asked for %d turns", left)
	}
}

// withoutGraf is an environment in which no setting of Graf's is left.
func withoutGraf(environ []string) []string {
	var kept []string
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		if name != "KUBECONFIG" && name != "KUBECACHEDIR" && !strings.HasPrefix(variable, "GRAF_") && !strings.HasPrefix(variable, "OPENAI_") && !strings.HasPrefix(variable, "AGENT_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// command makes a shell do what a block says.
func (r *reader) command(t *testing.T, b docstest.Block) *exec.Cmd {
	t.Helper()
	text := strings.NewReplacer(".graf/", r.folder+"/data/", "/tmp/", r.folder+"/").Replace(b.Commands)
	if state := os.Getenv("GRAF_CLUSTER_STATE"); state != "" {
		text = strings.ReplaceAll(text, "/var/lib/graf-cluster", state)
	} else if netns := os.Getenv("GRAF_CLUSTER_NETNS"); netns != "" {
		text = strings.ReplaceAll(text, "/var/lib/graf-cluster", "/var/lib/"+netns+"-cluster")
	}
	// The endpoint is the script's, where a Secret on the cluster would have none.
	text = strings.ReplaceAll(text, `--from-literal=OPENAI_API_KEY="$KEY"`, `--from-literal=OPENAI_API_KEY="$KEY" --from-literal=OPENAI_BASE_URL="$AGENT_OPENAI_BASE_URL"`)
	// A terminal keeps what was exported: one for this machine, another for the cluster.
	terminal := r.folder + "/terminal"
	if b.Has("cluster") {
		terminal += "-cluster"
	}
	text = fmt.Sprintf("if [[ -f %[1]s ]]; then . %[1]s; fi\n%s\nexport -p > %[1]s\n", terminal, text)
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience) // which is for what builds, too
	t.Cleanup(cancel)
	command := exec.CommandContext(ctx, "bash", "-eu", "-o", "pipefail", "-c", text)
	command.Dir, command.Env = r.root, r.environment
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGINT) }
	command.WaitDelay = time.Minute
	return command
}

// run does it to the end.
func (r *reader) run(t *testing.T, b docstest.Block) string {
	t.Helper()
	out, err := r.command(t, b).CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s\n%s", err, b.Commands, out)
	}
	return string(out)
}

// background starts it, and waits until it says that Graf runs.
func (r *reader) background(t *testing.T, b docstest.Block) {
	t.Helper()
	command := r.command(t, b)
	out, err := command.StdoutPipe()
	must(t, err)
	var log bytes.Buffer
	command.Stderr = &log
	must(t, command.Start())
	r.stop = sync.OnceFunc(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGINT)
		_ = command.Wait() // make says that it was interrupted
	})
	t.Cleanup(r.stop)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		t.Log(lines.Text())
		if strings.Contains(lines.Text(), "Graf runs on this machine") {
			go func() {
				for lines.Scan() { // it must be able to go on
				}
			}()
			return
		}
	}
	t.Fatalf("make run ended:\n%s", log.String())
}
