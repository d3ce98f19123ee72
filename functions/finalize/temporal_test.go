package finalize

import (
	"testing"
	"time"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/tasktest"
)

// temporal is a running task of Temporal's whose deadline is so far away.
func (f *fixture) temporal(t *testing.T, deadline time.Duration) query.Task {
	t.Helper()
	task := tasktest.Running(t, f.pool, tasktest.Task{})
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET orchestration_mode = 'temporal', deadline_at = $2 WHERE id = $1`,
		task.ID, time.Now().Add(deadline))
	return tasktest.Get(t, f.pool, task.ID)
}

// What events tell of is left to the workflow, until that is overdue.
func TestEventsOfTemporalTasks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		deadline time.Duration
		status   string
	}{
		"in time":             {time.Minute, "running"},
		"in the grace period": {-time.Second, "running"},
		"overdue":             {-time.Hour, "succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			task := f.temporal(t, c.deadline)
			f.cluster.executions = []kube.Observation{observe(task, kube.PhaseSucceeded)}
			if err := f.handleExecutionUpdate(t.Context(), jobEvent(t.Context(), event.TypeResourceUpdate, task, complete)); err != nil {
				t.Fatal(err)
			}
			reported := event.NewTask(t.Context(), event.TypeTaskReported, event.SourceCallback, task.ID,
				event.TaskReported{TaskID: task.ID, Attempt: 1})
			if err := f.handleReported(t.Context(), reported); err != nil {
				t.Fatal(err)
			}
			if status := tasktest.Get(t, f.pool, task.ID).Status; status != c.status {
				t.Errorf("task is %s, want %s", status, c.status)
			}
		})
	}
}

// The sweep ends tasks whatever runs them.
func TestSweepEndsTemporalTasks(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.config.StaleAfter = 0
	task := f.temporal(t, time.Minute)
	f.cluster.executions = []kube.Observation{observe(task, kube.PhaseSucceeded)}
	if err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := tasktest.Get(t, f.pool, task.ID).Status; status != "succeeded" {
		t.Errorf("task is %s, want succeeded", status)
	}
}

// The end is noted first and brought about then; each may be done twice.
func TestNoteEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		phase    kube.Phase // "" for no Job
		deadline time.Duration
		attempt  int
		noted    string
		status   string
	}{
		"it goes on":      {kube.PhaseActive, time.Minute, 1, "running", "running"},
		"it succeeded":    {kube.PhaseSucceeded, time.Minute, 1, "finalizing", "succeeded"},
		"it failed":       {kube.PhaseFailed, time.Minute, 1, "finalizing", "failed"},
		"it is gone":      {"", time.Minute, 1, "finalizing", "failed"},
		"it overruns":     {kube.PhaseActive, -time.Hour, 1, "finalizing", "timed_out"},
		"another attempt": {kube.PhaseActive, -time.Hour, 2, "running", "running"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			task := f.temporal(t, c.deadline)
			if c.phase != "" {
				f.cluster.executions = []kube.Observation{observe(task, c.phase)}
			}
			for range 2 {
				if err := f.NoteEnd(t.Context(), task.ID, c.attempt); err != nil {
					t.Fatal(err)
				}
				if status := tasktest.Get(t, f.pool, task.ID).Status; status != c.noted {
					t.Fatalf("task is %s, want %s", status, c.noted)
				}
			}
			for range 2 {
				if err := f.Observe(t.Context(), task.ID, c.attempt); err != nil {
					t.Fatal(err)
				}
			}
			if status := tasktest.Get(t, f.pool, task.ID).Status; status != c.status {
				t.Errorf("task is %s, want %s", status, c.status)
			}
		})
	}
}
