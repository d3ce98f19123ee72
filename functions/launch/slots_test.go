package launch

import (
	"testing"
	"time"

	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/postgres/query"
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

// cutOff leaves a task as a launch does that dies once the task is launching.
func (f *fixture) cutOff(t *testing.T, task query.Task) {
	t.Helper()
	_, hash := auth.NewTaskToken()
	_, err := query.New(f.pool).BeginAttempt(t.Context(), query.BeginAttemptParams{
		UpdatedBy: "test", TaskID: task.ID, Attempt: 1, TokenHash: hash, Prompt: "p", RecallMode: "none",
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) wipe(t *testing.T) {
	t.Helper()
	keys, err := f.redis.Keys(t.Context(), f.prefix+"*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	if err := f.redis.Del(t.Context(), keys...).Err(); err != nil {
		t.Fatal(err)
	}
}

// A launch that was cut off and lost its slot to another task does not get it
// back because Redis is wiped.
func TestLaunchThatLostItsSlotWaits(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{Global: 1})
	lost := tasktest.Queued(t, f.pool, tasktest.Task{})
	f.cutOff(t, lost)
	other := tasktest.Queued(t, f.pool, tasktest.Task{Priority: 9})
	if err := f.Enqueue(t.Context(), other.ID); err != nil { // the slots are rebuilt with it
		t.Fatal(err)
	}
	f.wipe(t)
	for range 2 {
		if err := f.Enqueue(t.Context(), lost.ID); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := tasktest.Get(t, f.pool, other.ID).Status, tasktest.Get(t, f.pool, lost.ID).Status; a != "running" || b != "launching" {
		t.Errorf("the tasks are %s and %s, want running and launching: there is one slot", a, b)
	}
	f.release(t.Context(), other.ID, 1)
	if err := f.Admit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := tasktest.Get(t, f.pool, lost.ID).Status; status != "running" {
		t.Errorf("the launch that was cut off is %s, want running", status)
	}
}

// A launch that has noted its slot keeps it over a wipe.
func TestLaunchKeepsItsSlotOverAWipe(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{Global: 1})
	f.cluster.fail(kube.ErrUnavailable)
	first := tasktest.Queued(t, f.pool, tasktest.Task{})
	if err := f.Enqueue(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	f.wipe(t)
	f.cluster.fail(nil)
	second := tasktest.Queued(t, f.pool, tasktest.Task{Priority: 9})
	if err := f.Enqueue(t.Context(), second.ID); err != nil {
		t.Fatal(err)
	}
	if status := tasktest.Get(t, f.pool, second.ID).Status; status != "queued" {
		t.Errorf("the second task is %s while the first holds the only slot", status)
	}
}

// The tasks of a caller that is at its cap do not hide another caller's, whose
// event was lost.
func TestManyQueuedTasksHideNobody(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{PerCaller: 1})
	tasktest.Exec(t, f.pool, `INSERT INTO codex_tasks
		(id, caller, idempotency_key, request_digest, updated_by, prompt, agent, priority, timeout_seconds, max_attempts)
		SELECT gen_random_uuid(), 'big', n::text, '\x00', 'test', 'p', '{"command":["true"]}', 9, 60, 1
		FROM generate_series(1, $1::int) AS n`, catchBatch+1)
	// Redis knows of the slots, but not of this one.
	if err := f.Catch(t.Context()); err != nil {
		t.Fatal(err)
	}
	small := tasktest.Queued(t, f.pool, tasktest.Task{Caller: "small"})
	if err := f.Catch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := tasktest.Get(t, f.pool, small.ID).Status; status != "running" {
		t.Errorf("the other caller's task is %s, want running", status)
	}
}
