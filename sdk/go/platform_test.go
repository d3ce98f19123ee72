package graf_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	graf "github.com/graf-run/graf/sdk/go"
)

// A task is submitted, followed live and in pages, and listed.
func TestTask(t *testing.T) {
	t.Parallel()
	c := client(t)
	submission := shell("Say something.", `echo hello`)
	submission.IdempotencyKey, submission.Tags = uuid.NewString(), []string{"sdk", "task-" + uuid.NewString()}
	created, err := c.Submit(within(t), submission)
	must(t, err)
	again, err := c.Submit(within(t), submission)
	must(t, err)
	if again.TaskID != created.TaskID {
		t.Errorf("the same key made %s and %s", created.TaskID, again.TaskID)
	}
	task, err := c.Wait(within(t), created.TaskID)
	must(t, err)
	if task.Status != graf.TaskStatusSucceeded || !task.Status.Ended() {
		t.Errorf("the task is %s: %+v", task.Status, task.Failure)
	}
	var listed []uuid.UUID
	for summary, err := range c.Tasks(within(t), graf.ListTasksParams{Tag: submission.Tags, Status: []graf.TaskStatus{task.Status}, Limit: 1}) {
		must(t, err)
		listed = append(listed, summary.TaskID)
	}
	if len(listed) != 1 || listed[0] != created.TaskID {
		t.Errorf("listed are %v", listed)
	}
}

// An agent reports events and an artifact with its own token, and both are read.
func TestAgent(t *testing.T) {
	t.Parallel()
	c := client(t)
	gate := filepath.Join(t.TempDir(), "gate")
	created, err := c.Submit(within(t), shell("Wait for the gate.", `until [ -e '`+gate+`' ]; do sleep 0.05; done`))
	must(t, err)
	awaitRunning(t, c, created.TaskID)
	agent, err := graf.New(graf.Options{BaseURL: os.Getenv("GRAF_URL"), Token: graf.StaticToken(created.Callback.Token)})
	must(t, err)
	var events []graf.Event
	for i := range 120 { // more than one request may hold
		events = append(events, graf.Event{EventType: graf.EventTypeProgress, Content: graf.Text(fmt.Sprint("step ", i))})
	}
	accepted, err := agent.PostEvents(within(t), created.TaskID, events...)
	must(t, err)
	if len(accepted.Events) != len(events) {
		t.Errorf("%d of %d events were accepted", len(accepted.Events), len(events))
	}
	content := bytes.Repeat([]byte("report\n"), 1000)
	var sent int64
	_, err = agent.UploadArtifact(within(t), created.TaskID, graf.File{
		Name: "report.txt", ContentType: "text/plain", Content: bytes.NewReader(content), Size: int64(len(content)),
		Progress: func(now, _ int64) { sent = now },
	})
	must(t, err)
	if sent != int64(len(content)) {
		t.Errorf("progress ended at %d of %d bytes", sent, len(content))
	}
	_, err = agent.UploadArtifact(within(t), created.TaskID, graf.File{Name: "empty", Content: bytes.NewReader(nil)})
	must(t, err)
	_, err = agent.QueryTaskMemory(within(t), created.TaskID, graf.MemoryQuery{Text: "gate", Limit: new(3)})
	must(t, err)
	_, err = agent.TaskMemory(within(t), created.TaskID, graf.ListTaskMemoryParams{Limit: 3})
	must(t, err)
	must(t, os.WriteFile(gate, nil, 0o600))
	checkReported(t, c, created.TaskID, content)
}

func awaitRunning(t *testing.T, c *graf.Client, id uuid.UUID) {
	t.Helper()
	for {
		task, err := c.Task(within(t), id)
		must(t, err)
		if task.Status == graf.TaskStatusRunning {
			return
		}
		if task.Status.Ended() {
			t.Fatalf("task %s is %s: %+v", id, task.Status, task.Failure)
		}
	}
}

// checkReported holds the live events to those in pages, and the artifact to its content.
func checkReported(t *testing.T, c *graf.Client, id uuid.UUID, content []byte) {
	t.Helper()
	task, err := c.Wait(within(t), id)
	must(t, err)
	var live, paged []int64
	for event, err := range c.Follow(within(t), id, 3) {
		must(t, err)
		live = append(live, event.Sequence)
	}
	for event, err := range c.Events(within(t), id, graf.ListTaskEventsParams{Limit: 50}) {
		must(t, err)
		paged = append(paged, event.Sequence)
	}
	if len(paged) < 122 || len(live) != len(paged)-3 {
		t.Errorf("%d events live after the third, %d in pages", len(live), len(paged))
	}
	if len(task.Artifacts) != 2 {
		t.Fatalf("artifacts: %+v", task.Artifacts)
	}
	artifact := task.Artifacts[0]
	if artifact.Name != "report.txt" {
		artifact = task.Artifacts[1]
	}
	path, err := c.DownloadFile(within(t), artifact, t.TempDir(), nil)
	must(t, err)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("downloaded %d bytes, %v", len(got), err)
	}
	artifact.Sha256 = fmt.Sprintf("%x", sha256.Sum256(nil))
	folder := t.TempDir()
	quick := graf.OptionsFromEnvironment()
	quick.Retry.Attempts = 1
	once, err := graf.New(quick)
	must(t, err)
	if _, err := once.DownloadFile(within(t), artifact, folder, nil); !errors.Is(err, graf.ErrDamaged) {
		t.Errorf("a damaged download gives %v", err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("a damaged download leaves %v, %v", left, err)
	}
}

// Each kind of refusal is told apart.
func TestRefusals(t *testing.T) {
	t.Parallel()
	c := client(t)
	options := graf.OptionsFromEnvironment()
	options.Token = graf.StaticToken("wrong")
	stranger, err := graf.New(options)
	must(t, err)
	done, err := c.Submit(within(t), shell("Do nothing.", "true"))
	must(t, err)
	_, err = c.Wait(within(t), done.TaskID)
	must(t, err)
	mode := shell("Run where nothing may.", "true")
	mode.OrchestrationMode = graf.OrchestrationModeArgo
	for name, test := range map[string]struct {
		call func() error
		want error
		says string
	}{
		"no such task":           {func() error { _, err := c.Task(within(t), uuid.New()); return err }, graf.ErrNotFound, "getTask: Not found (404)"},
		"no such task to follow": {func() error { _, err := c.Wait(within(t), uuid.New()); return err }, graf.ErrNotFound, "404"},
		"wrong token":            {func() error { _, err := stranger.Task(within(t), done.TaskID); return err }, graf.ErrUnauthorized, "401"},
		"policy":                 {func() error { _, err := c.Submit(within(t), mode); return err }, graf.ErrForbidden, "403"},
		"ended":                  {func() error { _, err := c.Cancel(within(t), done.TaskID, "late"); return err }, graf.ErrConflict, "409"},
		"no prompt": {
			func() error { _, err := c.Submit(within(t), shell("", "true")); return err }, graf.ErrInvalid, "/prompt",
		},
		"too many": {
			func() error { _, err := c.TaskPage(within(t), graf.ListTasksParams{Limit: 1000}); return err }, graf.ErrInvalid, "limit",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := test.call()
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %v that says %q", err, test.want, test.says)
			}
			if problem, ok := errors.AsType[*graf.Problem](err); !ok || problem.Type == "" || problem.Instance == "" {
				t.Errorf("got %#v, want a problem document", err)
			}
		})
	}
}

// A task that waits is cancelled, and what the policy says is explained.
func TestCancel(t *testing.T) {
	t.Parallel()
	c := client(t)
	created, err := c.Submit(within(t), shell("Wait for ever.", "sleep 600"))
	must(t, err)
	_, err = c.Cancel(within(t), created.TaskID, "not needed")
	must(t, err)
	task, err := c.Wait(within(t), created.TaskID)
	must(t, err)
	if task.Status != graf.TaskStatusCancelled || task.Failure == nil || task.Failure.Class != graf.FailureClassCancelled {
		t.Errorf("the task is %s: %+v", task.Status, task.Failure)
	}
	question := graf.PolicyQuestion{Execution: &graf.PolicyExecution{OrchestrationMode: graf.OrchestrationModeDirect}}
	answer, err := c.ExplainPolicy(within(t), question)
	must(t, err)
	if !answer.Decision.Allowed {
		t.Errorf("the policy says %+v", answer.Decision)
	}
}

// An ended task is run again, what it taught is searched, shown and forgotten, and
// operators see the dead letters.
func TestOperate(t *testing.T) {
	t.Parallel()
	c := client(t)
	tag := "operate-" + uuid.NewString()
	submission := shell("Fail for a reason that is searched for.", "exit 3")
	submission.Tags = []string{tag}
	failed, err := c.Submit(within(t), submission)
	must(t, err)
	_, err = c.Wait(within(t), failed.TaskID)
	must(t, err)
	created, err := c.Retry(within(t), failed.TaskID, graf.TaskRetry{})
	must(t, err)
	again, err := c.Wait(within(t), created.TaskID)
	must(t, err)
	if again.RetryOf == nil || *again.RetryOf != failed.TaskID {
		t.Errorf("task %s is a retry of %v", again.TaskID, again.RetryOf)
	}
	results, err := c.SearchMemory(within(t), graf.MemorySearch{
		Text: submission.Prompt, Tags: submission.Tags, Kinds: []graf.MemoryKind{graf.MemoryKindPrompt}, Limit: new(1),
	})
	must(t, err)
	if len(results.Results) != 1 {
		t.Fatalf("found %+v", results)
	}
	id := results.Results[0].MemoryID
	memory, err := c.Memory(within(t), id)
	must(t, err)
	if memory.Content != submission.Prompt {
		t.Errorf("the memory is %q", memory.Content)
	}
	must(t, c.ForgetMemory(within(t), id))
	must(t, c.ForgetMemory(within(t), id))
	if _, err := c.Memory(within(t), id); !errors.Is(err, graf.ErrNotFound) {
		t.Errorf("a forgotten memory gives %v", err)
	}
	since := graf.ListDeadLettersParams{Type: "no.such.type", Since: time.Now().Add(-time.Hour)}
	for letter, err := range c.DeadLetters(within(t), since) {
		t.Errorf("dead letter %+v, %v", letter, err)
	}
	if _, err := c.ReplayDeadLetter(within(t), uuid.New()); !errors.Is(err, graf.ErrNotFound) {
		t.Errorf("no letter gives %v", err)
	}
}
