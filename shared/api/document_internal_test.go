package api

import (
	"fmt"
	"testing"
)

// TestConstantsAreTheDocuments holds Go's constants to openapi.yaml.
func TestConstantsAreTheDocuments(t *testing.T) {
	t.Parallel()
	v, err := NewValidator()
	if err != nil {
		t.Fatal(err)
	}
	submission := v.schemas[SchemaTaskSubmission].Properties
	query := v.operations[OperationQueryTaskMemory].body.Ref.Properties
	for name, pair := range map[string][2]any{
		"priority":          {DefaultPriority, *submission["priority"].Default},
		"timeoutSeconds":    {DefaultTimeoutSeconds, *submission["timeoutSeconds"].Default},
		"maxAttempts":       {DefaultMaxAttempts, *submission["maxAttempts"].Default},
		"orchestrationMode": {DefaultOrchestrationMode, *submission["orchestrationMode"].Default},
		"limit":             {DefaultMemoryLimit, *query["limit"].Default},
		"events":            {MaxEvents, *v.schemas["EventBatch"].MaxItems},
	} {
		if fmt.Sprint(pair[0]) != fmt.Sprint(pair[1]) {
			t.Errorf("%s: the constant is %v, the document has %v", name, pair[0], pair[1])
		}
	}
}

// TestEveryOperationIsComplete finds what was forgotten when one was added.
func TestEveryOperationIsComplete(t *testing.T) {
	t.Parallel()
	v, err := NewValidator()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{
		OperationSubmitTask, OperationListTasks, OperationGetTask, OperationCancelTask,
		OperationPostTaskEvents, OperationListTaskEvents, OperationListTaskMemory, OperationQueryTaskMemory,
		OperationPostTaskActions, OperationUploadParts, OperationCompleteArtifact,
		OperationDecideApproval, OperationUndoTask, OperationExplainPolicy,
		OperationRetryTask, OperationQueryMemory, OperationGetMemory, OperationForgetMemory,
		OperationListDeadLetters, OperationGetDeadLetter, OperationReplayLetter, OperationPostTaskMCP,
	} {
		if v.operations[id] == nil {
			t.Errorf("the document has no operation %s", id)
		}
	}
	if len(v.operations) != 22 {
		t.Errorf("%d operations, want 22: give the new one a constant", len(v.operations))
	}
	root, err := parseDocument(document)
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range object(root["paths"]) {
		for method, op := range object(item) {
			if object(op)["operationId"] == nil {
				continue
			}
			want := []string{"400", "401", "429", "500", "503"}
			if object(op)["requestBody"] != nil {
				want = append(want, "413", "415", "422")
			}
			for _, status := range want {
				if object(object(op)["responses"])[status] == nil {
					t.Errorf("%s %s has no answer %s", method, path, status)
				}
			}
		}
	}
}
