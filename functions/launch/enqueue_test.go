package launch

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/retry"
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

// A database that was restored from a backup does not know what Redis has kept: that is dropped, and fails no delivery.
func TestCatchDropsATaskThatIsUnknown(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{})
	item := retry.Item{ID: limiter.AttemptID(uuid.Must(uuid.NewV7()).String(), 1), Due: time.Now().Add(-time.Second)}
	if n, err := f.bucket.Restore(t.Context(), item); n != 1 || err != nil {
		t.Fatalf("Restore = %d, %v", n, err)
	}
	if err := f.Catch(t.Context()); err != nil {
		t.Error(err)
	}
	if waits, err := f.bucket.Done(t.Context(), item.ID); waits || err != nil {
		t.Errorf("it waits in the retry bucket: %t, %v", waits, err)
	}
}
