package launch

import (
	"testing"

	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/tasktest"
)

// A task.submitted that comes again after an attempt failed does not cut the
// wait for the next attempt short.
func TestLateDuplicateKeepsTheWait(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{})
	task := tasktest.Queued(t, f.pool, tasktest.Task{})
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET not_before = now() + interval '1 hour', updated_by = 'test' WHERE id = $1`, task.ID)
	if err := f.Enqueue(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	if status := tasktest.Get(t, f.pool, task.ID).Status; status != "queued" {
		t.Errorf("task is %s, want queued", status)
	}
	if waits, err := f.bucket.Done(t.Context(), limiter.AttemptID(task.ID.String(), 1)); !waits || err != nil {
		t.Errorf("it waits in the retry bucket: %t, %v", waits, err)
	}
}
