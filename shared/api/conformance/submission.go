package conformance

import (
	"cmp"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
)

// literal is an argument with all that Kubernetes or Argo might take for its own.
const literal = `{{workflow.name}} {{=1+1}} $(GRAF_TASK_ID) $$ $HOME "'\ `

// submission is one of a task with a prompt, a resource and a manifest of its own.
func submission(t *testing.T, name string, target Target, want ending) api.TaskSubmission {
	t.Helper()
	id := uuid.NewString()
	resource := api.ResourceReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: "of-" + id, Name: "conformance"}
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": resource.APIVersion, "kind": resource.Kind,
		"metadata": map[string]string{"namespace": resource.Namespace, "name": resource.Name},
		"data":     map[string]string{"run": id},
	})
	if err != nil {
		t.Fatal(err)
	}
	agent := target.Agent(want.agent...)
	if want.command != nil {
		agent.Command = want.command
	}
	agent.Env = map[string]string{"LITERAL": literal, "RUN": id}
	return api.TaskSubmission{
		Prompt:            fmt.Sprintf("Conformance of mode %s, %s, run %s.", target.Mode, name, id),
		Agent:             agent,
		OrchestrationMode: target.Mode,
		MaxAttempts:       new(max(want.maxAttempts, 1)),
		TimeoutSeconds:    new(cmp.Or(want.seconds, int(target.Patience.Seconds()))),
		TargetResources:   []api.ResourceReference{resource},
		Manifests:         []api.Manifest{manifest},
	}
}
