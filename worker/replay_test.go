package worker

import (
	"path/filepath"
	"testing"

	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// histories are those that TestOnTemporal recorded (-update).
func histories(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.history.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded histories (%v): go test -run TestOnTemporal -update records them", err)
	}
	return files
}

// Workflows that are under way go on with the code as it is now.
func TestRecordedHistoriesReplay(t *testing.T) {
	t.Parallel()
	for _, file := range histories(t) {
		if err := replay(file, CodexTaskWorkflow); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// A workflow that takes its steps in another order does not pass.
func TestChangedWorkflowDoesNotReplay(t *testing.T) {
	t.Parallel()
	changed := func(ctx workflow.Context, attempt Attempt) error {
		var a *Activities
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 1})
		return workflow.ExecuteActivity(ctx, a.LaunchExecution, attempt).Get(ctx, nil)
	}
	for _, file := range histories(t) {
		if replay(file, changed) == nil {
			t.Errorf("%s: a changed workflow replays", file)
		}
	}
}

func replay(file string, run func(workflow.Context, Attempt) error) error {
	replayer := worker.NewWorkflowReplayer()
	replayer.RegisterWorkflowWithOptions(run, workflow.RegisterOptions{Name: "CodexTaskWorkflow"})
	return replayer.ReplayWorkflowHistoryFromJSONFile(nil, file)
}
