package finalize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/tasktest"
)

// Conditions of Jobs, as an ApiServerSource tells of them.
const (
	active   = ``
	complete = `{"type": "Complete", "status": "True"}`
	failed   = `{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}`
)

// jobEvent is an event about the Job of a task's present attempt.
func jobEvent(ctx context.Context, typ string, task query.Task, condition string) event.Event {
	return event.New(ctx, typ, "https://10.96.0.1:443", "", map[string]any{
		"apiVersion": "batch/v1", "kind": "Job",
		"metadata": map[string]any{
			"name": fmt.Sprintf("codex-%s-%d", task.ID, task.Attempt), "namespace": "graf",
			"labels": map[string]string{kube.LabelTaskID: task.ID.String(), kube.LabelAttempt: fmt.Sprint(task.Attempt)},
		},
		"status": map[string]any{"conditions": conditions(condition)},
	})
}

func TestJobEventsAreHints(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		typ       string
		condition string
		// exists is the phase of the Job that there is; "" for none.
		exists    kube.Phase
		launching bool
		status    string
		looks     int
		again     bool
	}{
		"it succeeded":                         {typ: event.TypeResourceUpdate, condition: complete, exists: kube.PhaseSucceeded, status: "succeeded", looks: 1},
		"it goes on":                           {typ: event.TypeResourceUpdate, condition: active, exists: kube.PhaseActive, status: "running", looks: 0},
		"forged: it succeeded":                 {typ: event.TypeResourceUpdate, condition: complete, exists: kube.PhaseActive, status: "running", looks: 1},
		"forged: it failed":                    {typ: event.TypeResourceUpdate, condition: failed, exists: kube.PhaseActive, status: "running", looks: 1},
		"forged: failed as success":            {typ: event.TypeResourceUpdate, condition: complete, exists: kube.PhaseFailed, status: "failed", looks: 1},
		"it is gone":                           {typ: event.TypeResourceDelete, condition: active, status: "failed", looks: 1},
		"forged: it is gone":                   {typ: event.TypeResourceDelete, condition: active, exists: kube.PhaseActive, status: "running", looks: 1},
		"forged: gone after success":           {typ: event.TypeResourceDelete, condition: complete, exists: kube.PhaseActive, status: "running", looks: 1},
		"launching: it succeeded":              {typ: event.TypeResourceUpdate, condition: complete, exists: kube.PhaseSucceeded, launching: true, status: "succeeded", looks: 1},
		"launching: forged: it succeeded":      {typ: event.TypeResourceUpdate, condition: complete, exists: kube.PhaseActive, launching: true, status: "launching", looks: 1},
		"launching: gone, or not there as yet": {typ: event.TypeResourceDelete, condition: active, launching: true, status: "launching", looks: 1, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			task := f.started(t, c.launching)
			if c.exists != "" {
				f.cluster.executions = []kube.Observation{observe(task, c.exists)}
			}
			handle := f.handleExecutionUpdate
			if c.typ == event.TypeResourceDelete {
				handle = f.handleExecutionDelete
			}
			err := handle(t.Context(), jobEvent(t.Context(), c.typ, task, c.condition))
			if errors.Is(err, problem.ErrUnavailable) != c.again || (err != nil && !c.again) {
				t.Errorf("got %v, to be delivered again: %t", err, c.again)
			}
			if status := tasktest.Get(t, f.pool, task.ID).Status; status != c.status {
				t.Errorf("task is %s, want %s", status, c.status)
			}
			if f.cluster.looks != c.looks {
				t.Errorf("%d looks at the cluster, want %d", f.cluster.looks, c.looks)
			}
			if ended := len(f.sink.types()) > 0; ended != (c.status == "succeeded" || c.status == "failed") {
				t.Errorf("announced %v", f.sink.types())
			}
		})
	}
}

// TestJobEventsOfThePast costs no look at the cluster: there is nothing to end.
func TestJobEventsOfThePast(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := f.started(t, false)
	if err := f.Finalize(t.Context(), observe(task, kube.PhaseSucceeded)); err != nil {
		t.Fatal(err)
	}
	future := f.started(t, false)
	future.Attempt++
	for _, task := range []query.Task{task, future} {
		for typ, handle := range map[string]func(context.Context, event.Event) error{
			event.TypeResourceUpdate: f.handleExecutionUpdate, event.TypeResourceDelete: f.handleExecutionDelete,
		} {
			if err := handle(t.Context(), jobEvent(t.Context(), typ, task, failed)); err != nil {
				t.Error(err)
			}
		}
	}
	if status := tasktest.Get(t, f.pool, task.ID).Status; status != "succeeded" || f.cluster.looks != 0 {
		t.Errorf("task is %s after %d looks at the cluster", status, f.cluster.looks)
	}
	if status := tasktest.Get(t, f.pool, future.ID).Status; status != "running" {
		t.Errorf("an attempt that is not there yet made the task %s", status)
	}
}

// started is a task that runs, or one whose launch is not over.
func (f *fixture) started(t *testing.T, launching bool) query.Task {
	t.Helper()
	if !launching {
		return tasktest.Running(t, f.pool, tasktest.Task{})
	}
	task := tasktest.Queued(t, f.pool, tasktest.Task{})
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = 'launching', attempt = 1, updated_by = 'test' WHERE id = $1`, task.ID)
	return tasktest.Get(t, f.pool, task.ID)
}

func conditions(one string) []json.RawMessage {
	if one == "" {
		return nil
	}
	return []json.RawMessage{json.RawMessage(one)}
}
