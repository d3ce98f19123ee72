package api_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/graf-run/graf/shared/api"
)

// requests finds the requests of docs/kubernetes.md, each with its operation.
var requests = regexp.MustCompile("(?s)```json ([A-Za-z]+)\n(.*?)```")

// The requests of the documentation are valid by the document.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]any{
		api.OperationExplainPolicy: new(api.PolicyQuestion), api.OperationSubmitTask: new(api.TaskSubmission),
		api.OperationPostTaskActions: new(api.ActionRequest), api.OperationDecideApproval: new(api.ApprovalDecision),
		api.OperationUndoTask: new(api.UndoRequest),
	}
	shown := map[string]bool{}
	for _, request := range requests.FindAllStringSubmatch(string(text), -1) {
		operation, body := request[1], request[2]
		shown[operation] = true
		into := bodies[operation]
		if into == nil {
			t.Errorf("%q is no operation", operation)
			continue
		}
		if err := setup(t).DecodeBody(post(t, "application/json", body), operation, api.MaxActionsBytes, into); err != nil {
			t.Errorf("%s %s: %v: %v", operation, body, err, pointers(err))
		}
	}
	for operation := range bodies {
		if !shown[operation] {
			t.Errorf("the documentation shows no request of %s", operation)
		}
	}
}
