package launch

import (
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/tasktest"
)

// What is stored and cannot be used ends its task, which would otherwise be
// launching for ever.
func TestUnreadableTasksFail(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{})
	for want, task := range map[string]tasktest.Task{
		"the agent: json":              {Agent: `{"command":"true"}`},
		"document 1: items[0] is not":  {Before: `["a"]`},
		"bytes as YAML; at most":       {Before: `[{"apiVersion":"v1","kind":"A","metadata":{"name":"a"},"l":"` + strings.Repeat("x", 1<<20) + `"}]`},
		`"GRAF_LOG_LEVEL" is reserved`: {Agent: `{"command":["true"],"env":{"GRAF_LOG_LEVEL":"debug"}}`},
	} {
		stored := tasktest.Queued(t, f.pool, task)
		if err := f.Enqueue(t.Context(), stored.ID); err != nil {
			t.Fatal(err)
		}
		got := tasktest.Get(t, f.pool, stored.ID)
		if got.Status != "failed" || got.FailureReason == nil || !strings.Contains(*got.FailureReason, want) {
			t.Errorf("the task is %s: %v, want failed with %q", got.Status, got.FailureReason, want)
		}
	}
}

// Numbers are stored as they are written: 1e300 has 6 characters, not 301.
func TestLargeNumbers(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{})
	task := tasktest.Queued(t, f.pool, tasktest.Task{
		Before: `[{"apiVersion":"v1","kind":"A","metadata":{"name":"a"},"l":[` + strings.Repeat("1e300,", 20_000) + `1]}]`,
	})
	if err := f.Enqueue(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	if got := tasktest.Get(t, f.pool, task.ID); got.Status != "running" {
		t.Errorf("the task is %s: %v", got.Status, got.FailureReason)
	}
}
