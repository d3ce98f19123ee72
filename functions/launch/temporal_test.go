package launch

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/eventtest"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/tasktest"
)

// temporal is a queued task that Temporal is to run.
func (f *fixture) temporal(t *testing.T) query.Task {
	t.Helper()
	task := tasktest.Queued(t, f.pool, tasktest.Task{MaxAttempts: 2})
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET orchestration_mode = 'temporal' WHERE id = $1`, task.ID)
	return tasktest.Get(t, f.pool, task.ID)
}

// An attempt of a task that Temporal runs is given a slot and asked for, and not begun.
func TestExecutionIsRequested(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{Global: 1})
	task, other := f.temporal(t), f.temporal(t)
	for _, id := range []query.Task{task, other} {
		if err := f.Enqueue(t.Context(), id.ID); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{event.TypeExecutionRequested}, f.sink.types()); diff != "" {
		t.Fatalf("one slot, so one is asked for: %s", diff)
	}
	if sent := f.sink.sent[0]; sent.Subject() != task.ID.String() {
		t.Errorf("%s was asked for, want %s", sent.Subject(), task.ID)
	}
	if err := eventtest.Check(f.sink.sent[0]); err != nil {
		t.Error(err)
	}
	eventtest.Golden(t, "execution_requested", f.sink.sent[0])
	if status := tasktest.Get(t, f.pool, task.ID).Status; status != "queued" || len(f.cluster.specs()) != 0 {
		t.Errorf("task is %s with %d Jobs, want queued and none", status, len(f.cluster.specs()))
	}
}

// Each step of the worker's may be done twice, and by two at once.
func TestStepsOfAnAttempt(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{})
	task := f.temporal(t)
	if err := f.Enqueue(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		do     func() error
		status string
	}{
		{func() error { return f.Launch(t.Context(), task.ID, 1) }, "queued"}, // not prepared
		{func() error { return f.Prepare(t.Context(), task.ID, 2) }, "queued"},
		{func() error { return f.Prepare(t.Context(), task.ID, 1) }, "launching"},
		{func() error { return f.Launch(t.Context(), task.ID, 1) }, "running"},
	} {
		for range 2 {
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
			if status := tasktest.Get(t, f.pool, task.ID).Status; status != step.status {
				t.Fatalf("task is %s, want %s", status, step.status)
			}
		}
	}
	specs := f.cluster.specs()
	if len(specs) != 1 || specs[0].Prompt == "" || specs[0].CallbackToken == "" {
		t.Fatalf("%d Jobs, want one with prompt and token", len(specs))
	}
	want := []string{event.TypeExecutionRequested, event.TypeTaskStarted}
	if diff := cmp.Diff(want, f.sink.types()); diff != "" {
		t.Error(diff)
	}
}

// A launch that was cut off, put off or has lost its slot is asked for again.
func TestExecutionIsRequestedAgain(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(t *testing.T, f *fixture, task query.Task){
		"cut off": func(*testing.T, *fixture, query.Task) {},
		"put off": func(t *testing.T, f *fixture, task query.Task) {
			f.cluster.fail(kube.ErrUnavailable)
			if err := f.Launch(t.Context(), task.ID, 1); err != nil {
				t.Fatal(err)
			}
			f.cluster.fail(nil)
		},
		"without its slot": func(t *testing.T, f *fixture, task query.Task) {
			f.release(t.Context(), task.ID, 1) // as when its lease is over
			if err := f.Launch(t.Context(), task.ID, 1); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, limiter.SlotsConfig{})
			task := f.temporal(t)
			if err := f.Enqueue(t.Context(), task.ID); err != nil {
				t.Fatal(err)
			}
			if err := f.Prepare(t.Context(), task.ID, 1); err != nil {
				t.Fatal(err)
			}
			stop(t, f, task)
			if err := f.Enqueue(t.Context(), task.ID); err != nil {
				t.Fatal(err)
			}
			want := []string{event.TypeExecutionRequested, event.TypeExecutionRequested}
			if diff := cmp.Diff(want, f.sink.types()); diff != "" {
				t.Fatal(diff)
			}
			if err := f.Launch(t.Context(), task.ID, 1); err != nil {
				t.Fatal(err)
			}
			if status := tasktest.Get(t, f.pool, task.ID).Status; status != "running" || len(f.cluster.specs()) != 1 {
				t.Errorf("task is %s with %d Jobs", status, len(f.cluster.specs()))
			}
		})
	}
}

// An attempt that was cancelled before the worker came to it has no slot any more.
func TestPrepareOfThePast(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{Global: 1, LaunchLease: time.Hour})
	task := f.temporal(t)
	if err := f.Enqueue(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = 'cancelled', updated_by = 'test' WHERE id = $1`, task.ID)
	if err := f.Prepare(t.Context(), task.ID, 1); err != nil {
		t.Fatal(err)
	}
	if held, _, err := f.slots.Count(t.Context()); err != nil || held != 0 {
		t.Errorf("%d slots held (%v), want none", held, err)
	}
}
