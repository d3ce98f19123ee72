package conformance

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
)

// checkTask fails unless the task shows what is wanted of it, and nothing else.
func checkTask(t *testing.T, target Target, want ending, task api.Task) {
	t.Helper()
	if task.Status != want.status {
		t.Errorf("status %s, not %s", task.Status, want.status)
	}
	if task.OrchestrationMode != target.Mode {
		t.Errorf("mode %s, not %s", task.OrchestrationMode, target.Mode)
	}
	if task.Attempt != len(want.attempts) || len(task.Attempts) != len(want.attempts) {
		t.Fatalf("attempt %d, not the last of %d: %+v", task.Attempt, len(want.attempts), task.Attempts)
	}
	for i, w := range want.attempts {
		got := task.Attempts[i]
		if got.Attempt != i+1 || (w.exit == nil) != (got.ExitCode == nil) || w.exit != nil && *got.ExitCode != *w.exit {
			t.Errorf("attempt %d is number %d with exit code %v, not %v", i+1, got.Attempt, value(got.ExitCode), value(w.exit))
		}
		checkFailure(t, w, got.Failure)
		checkExecution(t, target, got.Execution)
	}
	checkFailure(t, want.attempts[len(want.attempts)-1], task.Failure)
	checkExecution(t, target, task.Execution)
	if asked := task.CancelRequestedAt != nil; asked != (want.status == api.TaskStatusCancelled) {
		t.Errorf("its cancellation was requested: %v", asked)
	}
}

func checkFailure(t *testing.T, want attempt, got *api.Failure) {
	t.Helper()
	if want.class == "" {
		if got != nil {
			t.Errorf("failure %+v, where there is none", *got)
		}
		return
	}
	if got == nil {
		t.Errorf("no failure, where there is one of class %s", want.class)
		return
	}
	if got.Class != want.class {
		t.Errorf("failure of class %s, not %s: %s", got.Class, want.class, got.Reason)
	}
	for _, words := range want.words {
		if !strings.Contains(got.Reason, words) {
			t.Errorf("the reason does not say %q: %s", words, got.Reason)
		}
	}
}

func checkExecution(t *testing.T, target Target, got *api.Execution) {
	t.Helper()
	if got == nil || got.Kind != target.Kind || got.Name == "" || got.Namespace == "" || got.UID == "" {
		t.Errorf("execution %+v, not a whole one of kind %s", got, target.Kind)
	}
}

// checkTimes fails unless the last attempt went through the states in their order, and each attempt followed on the one
// before. The time of a task's start is that of its first attempt, and there is none if it ended before launch could say
// that it runs.
func checkTimes(t *testing.T, task api.Task) {
	t.Helper()
	states := []*time.Time{&task.CreatedAt, task.QueuedAt, task.LaunchingAt, task.FinalizingAt, task.FinishedAt}
	if len(task.Attempts) == 1 && task.StartedAt != nil {
		states = slices.Insert(states, 3, task.StartedAt)
	}
	checkOrder(t, "states", states)
	var attempts []*time.Time
	for _, a := range task.Attempts {
		attempts = append(attempts, &a.LaunchedAt, a.StartedAt, a.FinishedAt)
	}
	checkOrder(t, "attempts", attempts)
}

func checkOrder(t *testing.T, what string, times []*time.Time) {
	t.Helper()
	for i, at := range times {
		if at == nil || i > 0 && times[i-1] != nil && at.Before(*times[i-1]) {
			t.Errorf("the times of its %s are not whole or not in order: %s", what, format(times))
			return
		}
	}
}

func format(times []*time.Time) string {
	var all []string
	for _, at := range times {
		if at == nil {
			all = append(all, "never")
			continue
		}
		all = append(all, at.Format(time.RFC3339Nano))
	}
	return strings.Join(all, ", ")
}

// checkEvents fails unless the stream, and the pages alike, have each event once and in its order, and the stream ended
// with the task.
func checkEvents(t *testing.T, want ending, task api.Task, live stream, paged []api.TaskEvent) {
	t.Helper()
	if live.err != nil {
		t.Fatalf("the stream: %v", live.err)
	}
	if live.status != want.status {
		t.Errorf("the stream ended with status %s, not %s", live.status, want.status)
	}
	var types []api.EventType
	for i, event := range live.events {
		// What finalize tells of pods, and the runner of the log, depends on the moment.
		if event.EventType != api.EventTypeResource && !strings.HasPrefix(event.EventID, "runner-") {
			types = append(types, event.EventType)
		}
		if event.Sequence != int64(i+1) {
			t.Errorf("event %d, %s %s, has the sequence number %d", i+1, event.EventType, event.EventID, event.Sequence)
		}
		if event.Attempt < 1 || event.Attempt > task.Attempt {
			t.Errorf("event %d is of attempt %d", i+1, event.Attempt)
		}
	}
	if !slices.Equal(types, want.events) {
		t.Errorf("the stream had %v, not %v", types, want.events)
	}
	if !slices.EqualFunc(live.events, paged, func(a, b api.TaskEvent) bool {
		return a.EventID == b.EventID && a.Sequence == b.Sequence
	}) {
		t.Errorf("the stream had\n%+v, the pages\n%+v", live.events, paged)
	}
}

// checkLogs fails unless Graf keeps what each attempt's container wrote.
func (c *client) checkLogs(t *testing.T, want ending, task api.Task) {
	t.Helper()
	for i, w := range want.attempts {
		if w.log == "" {
			continue
		}
		at := slices.IndexFunc(task.Artifacts, func(a api.Artifact) bool {
			return a.Source == api.ArtifactSourceGraf && a.Attempt == i+1
		})
		if at < 0 {
			t.Errorf("no log of attempt %d is kept: %+v", i+1, task.Artifacts)
			continue
		}
		if log := c.download(t, task.Artifacts[at]); !strings.Contains(log, w.log) {
			t.Errorf("the log of attempt %d does not say %q: %s", i+1, w.log, log)
		}
	}
}

// checkRemembered fails unless memory finds what the task was asked.
func (c *client) checkRemembered(t *testing.T, id uuid.UUID) {
	t.Helper()
	var found api.MemoryResults
	c.mustCall(t, http.MethodGet, c.Memory+"/v1/codex/tasks/"+id.String()+"/memory?includeOwn=true", nil, &found)
	if !slices.ContainsFunc(found.Results, func(r api.MemoryResult) bool {
		return r.Source.TaskID == id && r.Source.Kind == api.MemoryKindPrompt
	}) {
		t.Errorf("memory does not find its prompt: %+v", found.Results)
	}
}

func value(code *int) any {
	if code == nil {
		return "none"
	}
	return *code
}
