package finalize

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/tasktest"
	"github.com/graf-run/graf/shared/telemetry"
)

// An end that is carried on once the cluster has forgotten the Job is the one
// that was seen.
func TestEndOutlivesItsJob(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		phase       kube.Phase
		termination kube.Termination
		status      string
		reason      string
		exit        int
	}{
		"succeeded": {phase: kube.PhaseSucceeded, status: "succeeded"},
		"failed": {phase: kube.PhaseFailed, status: "queued", exit: 3, reason: "code 3 without a word; the end of its log:\nthe tail",
			termination: kube.Termination{ExitCode: 3, Reason: "Error", Message: "the\x00 tail"}},
		"timed out": {phase: kube.PhaseDeadlineExceeded, status: "timed_out", reason: "within 60 s", exit: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			task := tasktest.Running(t, f.pool, tasktest.Task{MaxAttempts: 2})
			f.upload(t, task.ID, "a.txt", []byte("a"), []byte("a"))
			f.cluster.termination = c.termination
			working := f.artifacts
			f.artifacts = storageAway(t)
			if err := f.Finalize(t.Context(), observe(task, c.phase)); !errors.Is(err, artifact.ErrUnavailable) {
				t.Fatalf("got %v, want %v", err, artifact.ErrUnavailable)
			}
			f.artifacts, f.cluster.termination = working, kube.Termination{} // the Job and its pod are gone
			if err := f.Observe(t.Context(), task.ID, 1); err != nil {
				t.Fatal(err)
			}
			got := tasktest.Get(t, f.pool, task.ID)
			if got.Status != c.status || !strings.Contains(value(got.FailureReason), c.reason) {
				t.Errorf("task is %s: %s; want %s: %s", got.Status, value(got.FailureReason), c.status, c.reason)
			}
			exit := tasktest.Scan[int](t, f.pool, `SELECT coalesce(exit_code, -1) FROM codex_task_attempts WHERE task_id = $1`, task.ID)
			if exit != c.exit {
				t.Errorf("exit code %d, want %d", exit, c.exit)
			}
		})
	}
}

// The stopping of an execution that overruns is cut off by a cluster that does
// not answer; its deletion then comes as an event, or the sweep carries it on.
func TestOverrunThatIsCutOff(t *testing.T) {
	t.Parallel()
	for name, carryOn := range map[string]func(*fixture, *testing.T, query.Task) error{
		"delete event": func(f *fixture, t *testing.T, task query.Task) error {
			return f.Finalize(t.Context(), gone(observe(task, kube.PhaseActive)))
		},
		"sweep": func(f *fixture, t *testing.T, task query.Task) error {
			tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET finalizing_at = now() - interval '1 minute' WHERE id = $1`, task.ID)
			err := f.Sweep(t.Context())
			if len(f.cluster.deleted) != 1 {
				t.Errorf("deleted %v, want the execution that goes on", f.cluster.deleted)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			task := tasktest.Running(t, f.pool, tasktest.Task{MaxAttempts: 2})
			tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET started_at = now() - interval '10 minutes',
				deadline_at = now() - interval '5 minutes' WHERE id = $1`, task.ID)
			f.cluster.executions = []kube.Observation{observe(task, kube.PhaseActive)}
			f.cluster.undeletable = kube.ErrUnavailable
			if err := f.Sweep(t.Context()); !errors.Is(err, kube.ErrUnavailable) {
				t.Fatalf("got %v, want %v", err, kube.ErrUnavailable)
			}
			f.cluster.undeletable = nil
			if err := carryOn(f, t, task); err != nil {
				t.Fatal(err)
			}
			if status := tasktest.Get(t, f.pool, task.ID).Status; status != "timed_out" {
				t.Errorf("task is %s, want timed_out", status)
			}
		})
	}
}

// While object storage is away the sweep asks it once, and does all else.
func TestSweepWhileStorageIsAway(t *testing.T) {
	t.Parallel()
	f := setup(t)
	asked := 0
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.Query().Has("uploads") { // for those to give up, which is another part's
			asked++
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(away.Close)
	f.artifacts = storageAt(t, away.URL, f.bucket)
	for range 3 {
		task := tasktest.Running(t, f.pool, tasktest.Task{})
		f.upload(t, task.ID, "a.txt", []byte("a"), nil)
		f.cluster.executions = append(f.cluster.executions, observe(task, kube.PhaseSucceeded))
	}
	without := tasktest.Running(t, f.pool, tasktest.Task{})
	f.cluster.executions = append(f.cluster.executions, observe(without, kube.PhaseSucceeded))
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = 'finalizing', updated_by = 'test'`)
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET finalizing_at = now() - interval '1 hour'`)
	queued := tasktest.Queued(t, f.pool, tasktest.Task{})
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET queued_at = now() - interval '1 hour' WHERE id = $1`, queued.ID)
	if err := f.Sweep(t.Context()); !errors.Is(err, artifact.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, artifact.ErrUnavailable)
	}
	if asked != 1 {
		t.Errorf("object storage was asked %d times, want once", asked)
	}
	types := f.sink.types()
	slices.Sort(types)
	if want := []string{event.TypeQueueDue, event.TypeTaskFinished}; !slices.Equal(types, want) {
		t.Errorf("announced %v, want %v", types, want)
	}
	if status := tasktest.Get(t, f.pool, without.ID).Status; status != "succeeded" {
		t.Errorf("the task without an artifact is %s, want succeeded", status)
	}
}

type sinkFunc func(event.Event)

func (s sinkFunc) Send(_ context.Context, e event.Event) error {
	s(e)
	return nil
}

// Parts of the sweep do not wait for each other.
func TestSweepWhileStorageHangs(t *testing.T) {
	t.Parallel()
	f := setup(t)
	due := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-due:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(hanging.Close)
	f.artifacts = storageAt(t, hanging.URL, f.bucket)
	task := tasktest.Running(t, f.pool, tasktest.Task{})
	f.upload(t, task.ID, "a.txt", []byte("a"), nil)
	f.cluster.executions = append(f.cluster.executions, observe(task, kube.PhaseSucceeded))
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = 'finalizing', updated_by = 'test'`)
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET finalizing_at = now() - interval '1 hour'`)
	queued := tasktest.Queued(t, f.pool, tasktest.Task{})
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET queued_at = now() - interval '1 hour' WHERE id = $1`, queued.ID)
	f.outbox = outbox.New(f.pool, sinkFunc(func(e event.Event) {
		if e.Type() == event.TypeQueueDue {
			close(due)
		}
	}), slog.Default())
	if err := f.Sweep(t.Context()); !errors.Is(err, artifact.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, artifact.ErrUnavailable)
	}
	select {
	case <-due:
	default:
		t.Error("the queue was not announced")
	}
}

// What the Job's event starts belongs to the trace of the task, not of the event.
func TestEventsCarryTheTasksTrace(t *testing.T) {
	t.Parallel()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	f := setup(t)
	task := tasktest.Running(t, f.pool, tasktest.Task{MaxAttempts: 2})
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET trace_parent = $2 WHERE id = $1`, task.ID, fmt.Sprintf("00-%s-00f067aa0ba902b7-01", trace))
	ctx := telemetry.WithTraceParent(t.Context(), "00-11111111111111111111111111111111-2222222222222222-01")
	if err := f.Finalize(ctx, observe(task, kube.PhaseFailed)); err != nil {
		t.Fatal(err)
	}
	tasktest.Launch(t, f.pool, task.ID)
	if err := f.Finalize(ctx, observe(tasktest.Get(t, f.pool, task.ID), kube.PhaseSucceeded)); err != nil {
		t.Fatal(err)
	}
	for _, e := range f.sink.sent {
		if got := telemetry.TraceParent(event.TraceContext(t.Context(), e)); !strings.Contains(got, trace) {
			t.Errorf("%s has the trace %q, want %s", e.Type(), got, trace)
		}
	}
	if len(f.sink.sent) != 2 {
		t.Errorf("announced %v, want two", f.sink.types())
	}
}
