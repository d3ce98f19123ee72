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
	codex, err := codextest.Find()
	if err == nil { // The platform's tasks find it, as they would in an image.
		err = os.Setenv("PATH", filepath.Dir(codex)+":"+os.Getenv("PATH"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(graftest.Run(built{m}, "GRAF_RETRY_BASE=100ms", "GRAF_RETRY_MAX=1s", "GRAF_EXECUTION_GRACE_PERIOD=2s"))
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

// run is a task that a command does, or the real Codex with a model by a script.
type run struct {
	client *graf.Client
	model  *responsestest.Server
	folder string // of a command
	tag    string // of this task alone
	id     uuid.UUID
	ctx    context.Context
}

// key is the model's, which must not be met again.
const key = "sk-scripted-0123456789abcdef"

// submit submits a task, which the tests wait for until their patience ends.
func submit(t *testing.T, submission graf.TaskSubmission) *run {
	t.Helper()
	client, err := graf.New(graf.OptionsFromEnvironment())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	tag := uuid.NewString()
	submission.Tags = append(submission.Tags, tag)
	created, err := client.Submit(ctx, submission)
	if err != nil {
		t.Fatal(err)
	}
	return &run{client: client, tag: tag, id: created.TaskID, ctx: ctx}
}

// start has the real Codex do a task, with a model that takes these turns.
func start(t *testing.T, change func(*graf.TaskSubmission), turns ...responsestest.Turn) *run {
	t.Helper()
	model := responsestest.New(t, turns...)
	submission := graf.TaskSubmission{
		Prompt: "Give the shop a third replica. " + uuid.NewString(),
		Agent: graf.Agent{Kind: graf.AgentKindCodex, Env: map[string]string{
			"CODEX_HOME": codextest.Home(t, model.URL, ""), "OPENAI_API_KEY": key,
		}},
		Manifests: []graf.Manifest{graf.Manifest(
			`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"shop","namespace":"web"},"spec":{"replicas":1}}`)},
	}
	if change != nil {
		change(&submission)
	}
	r := submit(t, submission)
	r.model = model
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

// edits is a turn in which Codex changes the manifest that it is given.
func edits() responsestest.Turn {
	return responsestest.Executes("sed -i 's/replicas: 1/replicas: 3/' manifests/*.yaml; echo $OPENAI_API_KEY").Uses(tokens(100))
}

// came fails unless this came of the task: the tokens, the diff that edits makes or
// none, and an outcome in memory with these words.
func (r *run) came(t *testing.T, task graf.Task, input, output int64, edited bool, words ...string) {
	t.Helper()
	if task.Usage.InputTokens != input || task.Usage.OutputTokens != output {
		t.Errorf("usage %+v, not %d and %d", task.Usage, input, output)
	}
	if has := task.Diff != nil && strings.Contains(task.Diff.Unified, "-  replicas: 1\n+  replicas: 3"); has != edited {
		t.Errorf("the diff is %+v", task.Diff)
	}
	found := r.remembered(t, task.Prompt)
	for _, word := range words {
		if !strings.Contains(found, word) {
			t.Errorf("memory does not know %q: %s", word, found)
		}
	}
}

func TestCodexEditsFiles(t *testing.T) {
	t.Parallel()
	r := start(t, nil, edits(), responsestest.Says("There are three replicas now.").Uses(tokens(200)))
	task, events := r.end(t, graf.TaskStatusSucceeded)
	has(t, events, graf.EventTypeStarted, `"agent":"codex"`)
	has(t, events, graf.EventTypeProgress, `"kind":"session"`)
	has(t, events, graf.EventTypeProgress, `"kind":"command"`, "sed -i", `"exitCode":0`)
	has(t, events, graf.EventTypeProgress, `"kind":"message"`, "There are three replicas now.")
	has(t, events, graf.EventTypeCompleted, `"summary":"There are three replicas now."`)
	r.came(t, task, 300, 20, true, "succeeded", "There are three replicas now.")
	prompt := string(r.model.Requests()[0].Body)
	if !strings.Contains(prompt, "Give the shop a third replica.") || !strings.Contains(prompt, "the folder manifests") {
		t.Errorf("the model was asked %s", prompt)
	}
}

func TestCodexGoesOnAfterARateLimit(t *testing.T) {
	t.Parallel()
	limited := responsestest.RateLimited(0)
	r := start(t, nil, edits(), limited, limited, limited, responsestest.Says("Done after all.").Uses(tokens(300)))
	task, events := r.end(t, graf.TaskStatusSucceeded)
	has(t, events, graf.EventTypeProgress, `"kind":"waiting"`, `"class":"quota"`, "429")
	has(t, events, graf.EventTypeCompleted, "Done after all.")
	r.came(t, task, 400, 20, true, "succeeded", "Done after all.")
	if len(task.Attempts) != 1 {
		t.Errorf("%d attempts", len(task.Attempts))
	}
}

func TestCodexRunsOutOfBudget(t *testing.T) {
	t.Parallel()
	r := start(t, func(s *graf.TaskSubmission) { s.Budget = &graf.Budget{Tokens: new(int64(150))}; s.MaxAttempts = new(3) },
		edits(), responsestest.Executes("true").Uses(tokens(100)), responsestest.Says("never").Slowly(patience).Always())
	task, events := r.end(t, graf.TaskStatusFailed)
	if task.Failure == nil || task.Failure.Class != graf.FailureClassBudget || len(task.Attempts) != 1 {
		t.Errorf("failure %+v after %d attempts", task.Failure, len(task.Attempts))
	}
	has(t, events, graf.EventTypeFailed, `"class":"budget"`, "150 tokens")
	r.came(t, task, 200, 20, true, "failed", "the budget is spent")
	if took := task.FinishedAt.Sub(*task.StartedAt); took > 20*time.Second {
		t.Errorf("it was stopped after %v", took)
	}
}

// What a task has done until it is cancelled is told, and its files are kept.
func TestCodexIsCancelled(t *testing.T) {
	t.Parallel()
	r := start(t, func(s *graf.TaskSubmission) { s.Agent.Artifacts = []string{"*.txt"} },
		edits(), responsestest.Executes("echo half > kept.txt").Uses(tokens(100)), responsestest.Says("never").Slowly(patience).Always())
	for used := int64(0); used < 200 && r.ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		task, err := r.client.Task(r.ctx, r.id)
		if err != nil {
			t.Fatal(err)
		}
		used = task.Usage.InputTokens
	}
	if _, err := r.client.Cancel(r.ctx, r.id, "not needed"); err != nil {
		t.Fatal(err)
	}
	task, events := r.end(t, graf.TaskStatusCancelled)
	if task.Failure == nil || task.Failure.Class != graf.FailureClassCancelled {
		t.Errorf("failure %+v", task.Failure)
	}
	has(t, events, graf.EventTypeProgress, `"kind":"session"`)
	r.came(t, task, 200, 20, true, "cancelled", "not needed")
	r.wantArtifacts(t, task, map[string]string{"kept.txt": "half\n"})
}

func TestCodexIsRefused(t *testing.T) {
	t.Parallel()
	r := start(t, func(s *graf.TaskSubmission) { s.MaxAttempts = new(3) }, responsestest.Unauthorized().Always())
	task, _ := r.end(t, graf.TaskStatusFailed)
	if task.Failure == nil || task.Failure.Class != graf.FailureClassAuthentication || len(task.Attempts) != 1 {
		t.Errorf("failure %+v after %d attempts", task.Failure, len(task.Attempts))
	}
	r.came(t, task, 0, 0, false, "failed")
}

func TestCodexUsesMemory(t *testing.T) {
	t.Parallel()
	lesson := "Shops need three replicas, never two: " + uuid.NewString()
	r := start(t, nil,
		responsestest.CallsMCP("graf", "record_lesson", map[string]string{"lesson": lesson}).Uses(tokens(100)),
		responsestest.CallsMCP("graf", "search_memory", map[string]string{"text": "replicas of shops"}).Uses(tokens(100)),
		responsestest.Says("Learned.").Uses(tokens(100)))
	task, events := r.end(t, graf.TaskStatusSucceeded)
	has(t, events, graf.EventTypeProgress, `"kind":"tool"`, `"server":"graf"`, `"tool":"record_lesson"`)
	has(t, events, graf.EventTypeProgress, `"tool":"search_memory"`, `"status":"completed"`)
	has(t, events, graf.EventTypeProgress, lesson)
	r.came(t, task, 300, 30, false, "succeeded", "Learned.")
	if found := r.remembered(t, lesson); !strings.Contains(found, lesson) {
		t.Errorf("memory does not know the lesson: %s", found)
	}
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	r := startCommand(t, "sleep 1", nil, nil, "--heartbeat", "100ms")
	if task, _ := r.end(t, graf.TaskStatusSucceeded); task.Attempts[0].LastSeenAt == nil {
		t.Error("no heartbeat came")
	}
}
