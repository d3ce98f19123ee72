package launch

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/tasktest"
)

func TestKindOfExecution(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]struct{ kind, template string }{
		"direct": {kube.KindJob, ""},
		"argo":   {kube.KindWorkflow, "agents"},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f := setup(t, limiter.SlotsConfig{})
			f.execution.ArgoWorkflowTemplate = "agents"
			task := tasktest.Queued(t, f.pool, tasktest.Task{Mode: mode})
			if err := f.Enqueue(t.Context(), task.ID); err != nil {
				t.Fatal(err)
			}
			specs := f.cluster.specs()
			if len(specs) != 1 || specs[0].Kind != want.kind || specs[0].WorkflowTemplate != want.template {
				t.Fatalf("launched %+v, want a %s of template %q", specs, want.kind, want.template)
			}
			attempt, err := query.New(f.pool).GetAttempt(t.Context(), task.ID, 1)
			if err != nil || *attempt.ExecutionKind != want.kind {
				t.Errorf("noted as a %s (%v), want a %s", *attempt.ExecutionKind, err, want.kind)
			}
			tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET cancel_requested_at = now(), cancel_requested_by = 'ops' WHERE id = $1`, task.ID)
			if err := f.Cancel(t.Context(), task.ID); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{want.kind}, f.cluster.kinds); diff != "" {
				t.Errorf("cancelled: %s", diff)
			}
		})
	}
}

// What a launch that was cut off may have left is deleted as what it was made.
func TestCancelLaunchingWorkflow(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{})
	f.cluster.fail(kube.ErrUnavailable)
	task := tasktest.Queued(t, f.pool, tasktest.Task{Mode: "argo"})
	if err := f.Enqueue(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET cancel_requested_at = now(), cancel_requested_by = 'ops' WHERE id = $1`, task.ID)
	if err := f.Cancel(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{kube.KindWorkflow}, f.cluster.kinds); diff != "" {
		t.Error(diff)
	}
}

// A cluster without Argo ends the task at once, and the task says what to do.
func TestArgoIsMissing(t *testing.T) {
	t.Parallel()
	f := setup(t, limiter.SlotsConfig{})
	f.cluster.fail(fmt.Errorf("create Workflow: %w: %w", kube.ErrNotFound, errors.New("install Argo")))
	task := tasktest.Queued(t, f.pool, tasktest.Task{Mode: "argo"})
	if err := f.Enqueue(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	got := tasktest.Get(t, f.pool, task.ID)
	if got.Status != "failed" || !strings.Contains(*got.FailureReason, "install Argo") {
		t.Errorf("task is %s: %v", got.Status, *got.FailureReason)
	}
}
