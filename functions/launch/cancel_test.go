package launch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/tasktest"
	"github.com/graf-run/graf/shared/telemetry"
)

// A launch that is put off is not carried on once its task is cancelled.
func TestCancelLaunching(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*fixture, *testing.T, uuid.UUID) error{
		"by its event":           func(f *fixture, t *testing.T, id uuid.UUID) error { return f.Cancel(t.Context(), id) },
		"when the launch is due": func(f *fixture, t *testing.T, id uuid.UUID) error { return f.Enqueue(t.Context(), id) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, limiter.SlotsConfig{})
			f.cluster.fail(kube.ErrUnavailable)
			task := tasktest.Queued(t, f.pool, tasktest.Task{})
			if err := f.Enqueue(t.Context(), task.ID); err != nil {
				t.Fatal(err)
			}
			tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET cancel_requested_at = now(), cancel_requested_by = 'ops',
				cancel_reason = 'no need' WHERE id = $1`, task.ID)
			f.cluster.fail(nil)
			if err := end(f, t, task.ID); err != nil {
				t.Fatal(err)
			}
			if n := len(f.cluster.specs()); n != 0 {
				t.Errorf("%d executions were started, want none", n)
			}
			if diff := cmp.Diff([]string{"codex-" + task.ID.String() + "-1"}, f.cluster.deleted); diff != "" {
				t.Errorf("a Job that a launch may have left: %s", diff)
			}
			got := tasktest.Get(t, f.pool, task.ID)
			if got.Status != "cancelled" || *got.FailureClass != "cancelled" || *got.FailureReason != "cancelled by ops before it ran: no need" {
				t.Errorf("task is %s (%v): %v", got.Status, *got.FailureClass, *got.FailureReason)
			}
			if diff := cmp.Diff([]string{event.TypeTaskFinished}, f.sink.types()); diff != "" {
				t.Error(diff)
			}
			if held, _, err := f.slots.Count(t.Context()); err != nil || held != 0 {
				t.Errorf("%d slots held (%v), want none", held, err)
			}
		})
	}
}

// The cancellation ends the task while its Job is being made.
func TestCancelDuringTheLaunch(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{})
	task := tasktest.Queued(t, f.pool, tasktest.Task{})
	f.cluster.during = func() error {
		tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET cancel_requested_at = now(), cancel_requested_by = 'ops' WHERE id = $1`, task.ID)
		return f.Cancel(t.Context(), task.ID)
	}
	if err := f.Enqueue(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	if got := tasktest.Get(t, f.pool, task.ID); got.Status != "cancelled" {
		t.Errorf("task is %s, want cancelled", got.Status)
	}
	if n := len(f.cluster.deleted); n != 2 {
		t.Errorf("deleted %v, want the Job once it was made, too", f.cluster.deleted)
	}
}

// A task that another's event starts is announced in its own trace.
func TestStartedCarriesTheTasksTrace(t *testing.T) {
	t.Parallel()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	f := setup(t, limiter.SlotsConfig{})
	task := tasktest.Queued(t, f.pool, tasktest.Task{})
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET trace_parent = $2 WHERE id = $1`, task.ID, fmt.Sprintf("00-%s-00f067aa0ba902b7-01", trace))
	if err := f.Enqueue(telemetry.WithTraceParent(t.Context(), "00-11111111111111111111111111111111-2222222222222222-01"), task.ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{event.TypeTaskStarted}, f.sink.types()); diff != "" {
		t.Fatal(diff)
	}
	if got := telemetry.TraceParent(event.TraceContext(t.Context(), f.sink.sent[0])); !strings.Contains(got, trace) {
		t.Errorf("the event has the trace %q, want %s", got, trace)
	}
}
