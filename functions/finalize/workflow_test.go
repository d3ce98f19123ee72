package finalize

import (
	"context"
	"testing"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/tasktest"
)

// workflowEvent is an event about the Workflow of a task's present attempt.
func workflowEvent(ctx context.Context, typ string, task query.Task, phase string) event.Event {
	return event.New(ctx, typ, "https://10.96.0.1:443", "", map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
		"metadata": map[string]any{
			"name": kube.JobName(task.ID.String(), int(task.Attempt)), "namespace": "graf",
			"labels": map[string]string{kube.LabelTaskID: task.ID.String(), kube.LabelAttempt: "1"},
		},
		"status": map[string]any{"phase": phase},
	})
}

func TestWorkflowEvents(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		typ    string
		phase  string     // that the event tells
		exists kube.Phase // of the Workflow that there is; "" for none
		status string
		looks  int
	}{
		"it goes on":           {typ: event.TypeResourceUpdate, phase: "Running", exists: kube.PhaseActive, status: "running", looks: 0},
		"it succeeded":         {typ: event.TypeResourceUpdate, phase: "Succeeded", exists: kube.PhaseSucceeded, status: "succeeded", looks: 1},
		"it failed":            {typ: event.TypeResourceUpdate, phase: "Failed", exists: kube.PhaseFailed, status: "failed", looks: 1},
		"its deadline passed":  {typ: event.TypeResourceUpdate, phase: "Failed", exists: kube.PhaseDeadlineExceeded, status: "timed_out", looks: 1},
		"forged: it succeeded": {typ: event.TypeResourceUpdate, phase: "Succeeded", exists: kube.PhaseActive, status: "running", looks: 1},
		"it is gone":           {typ: event.TypeResourceDelete, phase: "Running", status: "failed", looks: 1},
		"forged: it is gone":   {typ: event.TypeResourceDelete, phase: "Running", exists: kube.PhaseActive, status: "running", looks: 1},
		"it is in error":       {typ: event.TypeResourceUpdate, phase: "Error", exists: kube.PhaseFailed, status: "failed", looks: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			task := tasktest.Running(t, f.pool, tasktest.Task{Mode: "argo"})
			if c.exists != "" {
				f.cluster.executions = []kube.Observation{observe(task, c.exists)}
			}
			handle := f.handleExecutionUpdate
			if c.typ == event.TypeResourceDelete {
				handle = f.handleExecutionDelete
			}
			if err := handle(t.Context(), workflowEvent(t.Context(), c.typ, task, c.phase)); err != nil {
				t.Fatal(err)
			}
			if status := tasktest.Get(t, f.pool, task.ID).Status; status != c.status || f.cluster.looks != c.looks {
				t.Errorf("task is %s after %d looks at the cluster, want %s after %d", status, f.cluster.looks, c.status, c.looks)
			}
		})
	}
}

// A Workflow that the list leaves out, for want of the right to it, is not taken for one that is gone.
func TestSweepOfUnlistedWorkflows(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := tasktest.Running(t, f.pool, tasktest.Task{Mode: "argo"})
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET started_at = now() - interval '10 minutes' WHERE id = $1`, task.ID)
	f.cluster.executions, f.cluster.unlisted = []kube.Observation{observe(task, kube.PhaseActive)}, true
	if err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := tasktest.Get(t, f.pool, task.ID).Status; status != "running" {
		t.Errorf("task is %s, want running", status)
	}
	f.cluster.executions = nil
	if err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := tasktest.Get(t, f.pool, task.ID).Status; status != "failed" {
		t.Errorf("task is %s once its Workflow is gone, want failed", status)
	}
}
