package launch

import (
	"testing"
	"time"

	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/tasktest"
)

// A task that is to wait for its next attempt leaves its slot to the others.
func TestRequeuedTaskLetsOthersStart(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]time.Duration{"in the delivery": 50 * time.Millisecond, "in the bucket": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, limiter.SlotsConfig{Global: 1})
			first := tasktest.Queued(t, f.pool, tasktest.Task{MaxAttempts: 2})
			if err := f.Enqueue(t.Context(), first.ID); err != nil {
				t.Fatal(err)
			}
			second := tasktest.Queued(t, f.pool, tasktest.Task{})
			if err := f.Enqueue(t.Context(), second.ID); err != nil {
				t.Fatal(err)
			}
			tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = 'finalizing', updated_by = 'test' WHERE id = $1`, first.ID)
			tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = 'queued', updated_by = 'test' WHERE id = $1`, first.ID)
			f.release(t.Context(), first.ID, 1)
			if err := f.EnqueueAt(t.Context(), first.ID, 2, time.Now().Add(wait)); err != nil {
				t.Fatal(err)
			}
			if status := tasktest.Get(t, f.pool, second.ID).Status; status != "running" {
				t.Errorf("the second task is %s, want running: the slot is free", status)
			}
			if status := tasktest.Get(t, f.pool, first.ID).Status; status != "queued" {
				t.Errorf("the first task is %s, want queued: its slot is taken", status)
			}
		})
	}
}

// A slot that an ended task was given does not stay unused.
func TestSlotOfEndedTaskGoesToTheNext(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{Global: 1})
	first := tasktest.Queued(t, f.pool, tasktest.Task{Priority: 9})
	second := tasktest.Queued(t, f.pool, tasktest.Task{})
	if _, err := f.slots.Rebuild(t.Context(), f.loadSlots); err != nil {
		t.Fatal(err)
	}
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = 'cancelled', updated_by = 'test' WHERE id = $1`, first.ID)
	if err := f.Admit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := tasktest.Get(t, f.pool, second.ID).Status; status != "running" {
		t.Errorf("the second task is %s, want running", status)
	}
}
