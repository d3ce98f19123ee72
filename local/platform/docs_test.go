package platform

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/graf-run/graf/local/embeddings"
	"github.com/graf-run/graf/local/services"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/docstest"
)

// carefulNeedApproval has tasks with the tag "careful" wait for somebody who approves them.
const carefulNeedApproval = `rules:
  - name: careful
    callers: [local]
    executions:
      - when: '"careful" in task.tags'
        approval: {approvers: [lead], reason: a careful task}
  - name: everyone-runs
    callers: ["*"]
    executions:
      - modes: [direct]
`

// Tokens of the platform's callers: of the one that there is, and of one who approves.
const (
	localToken = "graf_local_0123456789abcdefghijklmnop"
	leadToken  = "graf_lead_0123456789abcdefghijklmnopq"
)

// otherTests run all commands of these documents.
var otherTests = map[string]string{
	"docs/quickstart.md":       "e2e: TestQuickstart",
	"docs/cli.md":              "cli/cmd/graf: TestDocumentation",
	"sdk/typescript/README.md": "sdk/go: TestTypeScript",
}

// byKubectl has commands that the end-to-end tests run.
const byKubectl = "docs/runbooks/stuck-task.md"

// TestDocumentation runs the commands of all documents, but those that other tests run, on a platform in the folder
// where a reader would have it.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	const root = "../.."
	folder := dataFolder(t)
	must(t, os.WriteFile(filepath.Join(folder, "policy.yaml"), []byte(carefulNeedApproval), 0o600))
	must(t, os.WriteFile(filepath.Join(folder, "token"), []byte(localToken), 0o600))
	s := startWith(t, Config{Services: services.Config{DataFolder: folder, Dependencies: services.Local, Ephemeral: true}},
		"GRAF_API_BEARER_TOKENS=local="+localToken+",lead="+leadToken, "GRAF_OPERATORS=local,lead")
	s.keepSecret(leadToken)
	ran := 0
	for _, file := range docstest.Files(t, root) {
		blocks := docstest.Blocks(t, filepath.Join(root, file))
		if len(blocks) == 0 || otherTests[file] != "" {
			continue
		}
		t.Run(file, func(t *testing.T) {
			reader := s.newReader(t, folder)
			if prepare := before[file]; prepare != nil {
				prepare(t, s, reader)
			}
			var output string
			for _, b := range blocks {
				switch {
				case b.Has("gate"), b.Has("by-hand"), b.Has("kubectl") && file == byKubectl:
					continue
				case b.Has("container"):
					s.runInContainer(t, b)
				case len(b.Words) > 0:
					t.Errorf("line %d: nobody knows how to run a block that is %q", b.Line, b.Words)
				default:
					output += reader.run(t, b)
				}
				ran++
			}
			for _, want := range outputs[file] {
				if !regexp.MustCompile(want).MatchString(output) {
					t.Errorf("the commands print no %s:\n%s", want, output)
				}
			}
		})
	}
	if ran < 25 {
		t.Errorf("only %d blocks of commands were run", ran)
	}
}

// before brings about what a document's reader has.
var before = map[string]func(t *testing.T, s *system, r *reader){
	"docs/kubernetes.md": func(t *testing.T, _ *system, r *reader) {
		text, err := os.ReadFile("../../docs/kubernetes.md")
		must(t, err)
		_, question, _ := strings.Cut(string(text), "```json explainPolicy\n")
		question, _, _ = strings.Cut(question, "```")
		must(t, os.WriteFile(filepath.Join(r.folder, "question.json"), []byte(question), 0o600))
	},
	"docs/runbooks/dead-letters.md": func(t *testing.T, s *system, _ *reader) {
		e := request(t, "/somebody/else", shell("Do what a stranger asks for.", "true"))
		s.send(t, e)
		s.awaitLetter(t, e)
	},
	"docs/runbooks/embedding-outage.md": func(t *testing.T, s *system, r *reader) {
		r.set("task", s.finished(t))
		r.set("OPENAI_BASE_URL", s.model.url()+"/v1")
		r.set("OPENAI_API_KEY", "offline")
		r.set("OPENAI_EMBEDDING_MODEL", embeddings.ModelName)
	},
	"docs/runbooks/redis-wiped.md": func(t *testing.T, s *system, _ *reader) {
		eventually(t, "no task has a slot", func() bool {
			var busy int
			err := s.pool.QueryRow(within(t), `SELECT count(*) FROM codex_tasks WHERE status IN ('launching', 'running', 'finalizing')`).Scan(&busy)
			return err == nil && busy == 0
		})
		task := s.awaitStatus(t, s.submit(t, shell("Take a slot.", "sleep 600")).TaskID, api.TaskStatusRunning)
		t.Cleanup(func() { s.cancel(t, task.TaskID) })
	},
	byKubectl: func(t *testing.T, s *system, r *reader) {
		careful := shell("Take care.", "sleep 600") // until the commands cancel it
		careful.Tags = []string{"careful"}
		task := s.awaitStatus(t, s.submit(t, careful).TaskID, api.TaskStatusAwaitingApproval)
		r.set("task", task.TaskID.String())
		var approval string
		must(t, s.pool.QueryRow(within(t), `SELECT id::text FROM codex_approvals WHERE task_id = $1`, task.TaskID).Scan(&approval))
		r.set("approval", approval)
		r.set("GRAF_TOKEN", leadToken) // who approves is not who submitted
	},
	"functions/finalize/README.md": func(t *testing.T, s *system, r *reader) {
		r.set("task", s.finished(t))
	},
}

// outputs are patterns of what the commands of a document print.
var outputs = map[string][]string{
	"README.md": {
		`succeeded`, `event: end\ndata: .*"status":"succeeded"`, `"digest": "sha256:`, `"snippet": ".*enough for a web server`,
	},
	"docs/kubernetes.md":                {`"allowed":false`},
	"docs/runbooks/dead-letters.md":     {`dev\.graf\.codex\.task\.requested\.v1`, `"replayedBy":"local"`},
	"docs/runbooks/embedding-outage.md": {`"status": "succeeded"`, `waiting \| given_up`, `"dimensions": 512`},
	"docs/runbooks/redis-wiped.md":      {`run_id:[0-9a-f]{40}`, `(?m)^1\n(Warning.*\n)?1$`},
	byKubectl:                           {`awaiting_approval`, `left_behind`, `a careful task`, `"decision":"approved"`, `requested_by`},
	"functions/finalize/README.md":      {`what it said`},
}

// finished is a task that has ended, and wrote a log.
func (s *system) finished(t *testing.T) string {
	t.Helper()
	created := s.submit(t, shell("Say something.", "echo what it said"))
	return s.awaitStatus(t, created.TaskID, api.TaskStatusSucceeded).TaskID.String()
}

// reader is somebody in a clone in which make run was called.
type reader struct {
	folder, environment string
	system              *system
}

func (s *system) newReader(t *testing.T, data string) *reader {
	t.Helper()
	r := &reader{folder: t.TempDir(), system: s}
	must(t, os.Symlink(data, filepath.Join(r.folder, ".graf")))
	must(t, os.Symlink(programs, filepath.Join(r.folder, "bin")))
	r.environment = ". .graf/env\n"
	r.set("GRAF_CONFIG", filepath.Join(r.folder, "config.yaml"))
	return r
}

// set exports a variable to the commands that follow.
func (r *reader) set(name, value string) {
	r.environment += fmt.Sprintf("export %s='%s'\n", name, value)
}

// run runs a block, with the functions and variables that the last one has left.
func (r *reader) run(t *testing.T, b docstest.Block) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	commands := strings.ReplaceAll(b.Commands, "http://127.0.0.1:8080", r.system.URL())
	shell := exec.CommandContext(ctx, "bash", "-eu", "-o", "pipefail", "-c",
		r.environment+"if [[ -f terminal ]]; then . ./terminal; fi\n"+commands+
			"\n{ declare -f; for name in $(compgen -v | grep '^[a-z]'); do declare -p \"$name\"; done; } > terminal")
	shell.Dir = r.folder
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("line %d: %v\n%s\n%s", b.Line, err, b.Commands, out)
	}
	return string(out)
}

// runInContainer has an agent run a block.
func (s *system) runInContainer(t *testing.T, b docstest.Block) {
	t.Helper()
	submission := shell("Do what the container contract says.", "eval \"$BLOCK\"", "BLOCK", "set -eu\n"+b.Commands)
	task := s.awaitStatus(t, s.submit(t, submission).TaskID, api.TaskStatusSucceeded)
	var said []string
	for _, e := range s.pages(t, task.TaskID) {
		said = append(said, string(e.EventType)+" "+string(e.Content))
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, "Reading the Deployment.") || !strings.Contains(all, "What to know next time.") {
		t.Errorf("line %d: the task's events are\n%s", b.Line, all)
	}
	if !slices.ContainsFunc(task.Artifacts, func(a api.Artifact) bool { return a.Name == "report.md" }) {
		t.Errorf("line %d: the task's artifacts are %+v", b.Line, task.Artifacts)
	}
}
