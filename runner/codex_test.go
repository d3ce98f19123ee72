package runner_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	graf "github.com/graf-run/graf/sdk/go"
	"github.com/graf-run/graf/sdk/go/graftest"
	"github.com/graf-run/graf/shared/codextest"
	"github.com/graf-run/graf/shared/responsestest"
)

// patience bounds every wait.
const patience = 90 * time.Second

// program is graf-runner, built for the tests.
var program string

func TestMain(m *testing.M) {
	os.Exit(graftest.Run(built{m}, "GRAF_RETRY_BASE=100ms", "GRAF_RETRY_MAX=1s"))
}

// built builds the program before it runs the tests.
type built struct{ m *testing.M }

func (b built) Run() int {
	folder, err := os.MkdirTemp("", "graf-runner-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	program = filepath.Join(folder, "graf-runner")
	if out, err := exec.Command("go", "build", "-o", program, "./cmd/graf-runner").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build graf-runner: %v\n%s", err, out)
		return 1
	}
	return b.m.Run()
}

// run is a task that the real Codex does, with a model by a script.
type run struct {
	client *graf.Client
	model  *responsestest.Server
	folder string
	id     uuid.UUID
	ctx    context.Context
}

// key is the model's, which must not be met again.
const key = "sk-scripted-0123456789abcdef"

func start(t *testing.T, change func(*graf.TaskSubmission), turns ...responsestest.Turn) *run {
	t.Helper()
	client, err := graf.New(graf.OptionsFromEnvironment())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r := &run{client: client, model: responsestest.New(t, turns...), folder: t.TempDir(), ctx: ctx}
	submission := graf.TaskSubmission{
		Prompt: "Put a greeting into hello.txt.",
		Agent: graf.Agent{
			Command: []string{program, "--agent", "codex", "--mcp", "--folder", r.folder, "--grace", "2s", "--heartbeat", "100ms"},
			Env: map[string]string{
				"CODEX_HOME": codextest.Home(t, r.model.URL, ""), "OPENAI_API_KEY": key,
				"PATH": filepath.Dir(codextest.Program(t)) + ":" + os.Getenv("PATH"),
			},
		},
	}
	if change != nil {
		change(&submission)
	}
	created, err := client.Submit(ctx, submission)
	if err != nil {
		t.Fatal(err)
	}
	r.id = created.TaskID
	return r
}

// end waits for the task's end, and fails unless it is this one.
func (r *run) end(t *testing.T, status graf.TaskStatus) (graf.Task, []graf.TaskEvent) {
	t.Helper()
	task, err := r.client.Wait(r.ctx, r.id)
	if err != nil {
		t.Fatal(err)
	}
	var events []graf.TaskEvent
	for event, err := range r.client.Events(r.ctx, r.id, graf.ListTaskEventsParams{}) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, event)
		if strings.Contains(string(event.Content), key) {
			t.Errorf("an event tells the key: %s", event.Content)
		}
	}
	if task.Status != status {
		t.Fatalf("status %s, not %s: %+v\n%s", task.Status, status, task.Failure, told(events))
	}
	return task, events
}

func told(events []graf.TaskEvent) string {
	var b strings.Builder
	for _, event := range events {
		fmt.Fprintf(&b, "%s %s\n", event.EventType, plain(event.Content))
	}
	return b.String()
}

// has fails unless an event of the type has all fields, as JSON writes them.
func has(t *testing.T, events []graf.TaskEvent, kind graf.EventType, fields ...string) {
	t.Helper()
	if !slices.ContainsFunc(events, func(event graf.TaskEvent) bool {
		content := plain(event.Content)
		return event.EventType == kind && !slices.ContainsFunc(fields, func(field string) bool { return !strings.Contains(content, field) })
	}) {
		t.Errorf("no %s has %q:\n%s", kind, fields, told(events))
	}
}

// plain is JSON without the escapes that are for HTML alone.
func plain(content json.RawMessage) string {
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(content))
}

func tokens(n int) responsestest.Usage {
	return responsestest.Usage{Input: n, Cached: n / 2, Output: 10}
}

func TestCodexEditsFiles(t *testing.T) {
	t.Parallel()
	r := start(t, nil,
		responsestest.Executes("echo hello > hello.txt; echo $OPENAI_API_KEY").Uses(tokens(100)),
		responsestest.Says("The greeting is there.").Uses(tokens(200)))
	task, events := r.end(t, graf.TaskStatusSucceeded)
	text, err := os.ReadFile(filepath.Join(r.folder, "hello.txt"))
	if err != nil || string(text) != "hello\n" {
		t.Errorf("hello.txt: %q, %v", text, err)
	}
	has(t, events, graf.EventTypeStarted, `"agent":"codex"`)
	has(t, events, graf.EventTypeProgress, `"kind":"session"`)
	has(t, events, graf.EventTypeProgress, `"kind":"command"`, "echo hello > hello.txt", `"exitCode":0`)
	has(t, events, graf.EventTypeProgress, `"kind":"message"`, "The greeting is there.")
	has(t, events, graf.EventTypeCompleted, `"summary":"The greeting is there."`)
	if task.Usage.InputTokens != 300 || task.Usage.OutputTokens != 20 {
		t.Errorf("usage %+v", task.Usage)
	}
	if task.Attempts[0].LastSeenAt == nil {
		t.Error("no heartbeat came")
	}
	if prompt := string(r.model.Requests()[0].Body); !strings.Contains(prompt, "Put a greeting into hello.txt.") {
		t.Errorf("the model was asked %s", prompt)
	}
}

func TestCodexGoesOnAfterARateLimit(t *testing.T) {
	t.Parallel()
	limited := responsestest.RateLimited(0)
	r := start(t, nil,
		responsestest.Executes("echo one > one.txt").Uses(tokens(100)), limited, limited, limited,
		responsestest.Says("Done after all.").Uses(tokens(300)))
	task, events := r.end(t, graf.TaskStatusSucceeded)
	has(t, events, graf.EventTypeProgress, `"kind":"waiting"`, `"class":"quota"`, "429")
	has(t, events, graf.EventTypeCompleted, "Done after all.")
	if len(task.Attempts) != 1 || task.Usage.InputTokens != 400 {
		t.Errorf("%d attempts, usage %+v", len(task.Attempts), task.Usage)
	}
}

func TestCodexRunsOutOfBudget(t *testing.T) {
	t.Parallel()
	r := start(t, func(s *graf.TaskSubmission) { s.Budget = &graf.Budget{Tokens: new(int64(150))}; s.MaxAttempts = new(3) },
		responsestest.Executes("echo one").Uses(tokens(100)),
		responsestest.Executes("sleep 30").Uses(tokens(100)),
		responsestest.Says("never").Always())
	task, events := r.end(t, graf.TaskStatusFailed)
	if task.Failure == nil || task.Failure.Class != graf.FailureClassBudget || len(task.Attempts) != 1 {
		t.Errorf("failure %+v after %d attempts", task.Failure, len(task.Attempts))
	}
	has(t, events, graf.EventTypeFailed, `"class":"budget"`, "150 tokens")
	if took := task.FinishedAt.Sub(*task.StartedAt); took > 20*time.Second {
		t.Errorf("it was stopped after %v", took)
	}
}

func TestCodexIsCancelled(t *testing.T) {
	t.Parallel()
	r := start(t, nil, responsestest.Executes("echo $$ > pid; sleep 600").Uses(tokens(100)), responsestest.Says("never").Always())
	for r.ctx.Err() == nil {
		if _, err := os.Stat(filepath.Join(r.folder, "pid")); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if _, err := r.client.Cancel(r.ctx, r.id, "not needed"); err != nil {
		t.Fatal(err)
	}
	task, _ := r.end(t, graf.TaskStatusCancelled)
	if task.Failure == nil || task.Failure.Class != graf.FailureClassCancelled {
		t.Errorf("failure %+v", task.Failure)
	}
}

func TestCodexIsRefused(t *testing.T) {
	t.Parallel()
	r := start(t, func(s *graf.TaskSubmission) { s.MaxAttempts = new(3) }, responsestest.Unauthorized().Always())
	task, _ := r.end(t, graf.TaskStatusFailed)
	if task.Failure == nil || task.Failure.Class != graf.FailureClassAuthentication || len(task.Attempts) != 1 {
		t.Errorf("failure %+v after %d attempts", task.Failure, len(task.Attempts))
	}
}

func TestCodexUsesMemory(t *testing.T) {
	t.Parallel()
	lesson := "Greetings belong into hello.txt, never into the README: " + uuid.NewString()
	r := start(t, nil,
		responsestest.CallsMCP("graf", "record_lesson", map[string]string{"lesson": lesson}).Uses(tokens(100)),
		responsestest.CallsMCP("graf", "search_memory", map[string]string{"text": "greetings"}).Uses(tokens(100)),
		responsestest.Says("Learned.").Uses(tokens(100)))
	_, events := r.end(t, graf.TaskStatusSucceeded)
	has(t, events, graf.EventTypeProgress, `"kind":"tool"`, `"server":"graf"`, `"tool":"record_lesson"`)
	has(t, events, graf.EventTypeProgress, lesson)
	results, err := r.client.SearchMemory(r.ctx, graf.MemorySearch{Text: lesson})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(results.Results, func(m graf.MemoryResult) bool { return strings.Contains(m.Snippet, lesson) }) {
		t.Errorf("memory does not know the lesson: %+v", results)
	}
}
