//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/api"
)

// working is a submission of a task whose agent waits at a gate, "" for none.
func (s *system) working(t *testing.T, prompt, gate string) api.TaskSubmission {
	t.Helper()
	return api.TaskSubmission{
		Prompt: prompt + " (" + s.run + ")",
		Agent: api.Agent{
			Kind: api.AgentKindCommand, Image: image(t), Command: []string{"/app", "work"}, Env: map[string]string{"GATE": gate},
		},
		MaxAttempts: new(1),
	}
}

// setting is a submission whose agent, the example of examples/, sets the memory
// limit of a Deployment called name.
func (s *system) setting(name, prompt string, flags ...string) api.TaskSubmission {
	return api.TaskSubmission{
		Prompt: prompt,
		Agent: api.Agent{Kind: api.AgentKindCommand, Command: append(
			[]string{"/app/manifest-agent", "--kind", "Deployment", "--name", name}, flags...)},
		TargetResources: []api.ResourceReference{{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "of-" + name, Name: name}},
		Manifests:       []api.Manifest{deployment(name)},
		MaxAttempts:     new(1),
	}
}

// limit is the field that the example agent sets.
const limit = "spec.template.spec.containers[name=main].resources.limits.memory"

// deployment is a manifest whose container requests 100Mi of memory.
func deployment(name string) json.RawMessage {
	return json.RawMessage(strings.ReplaceAll(`{"apiVersion":"apps/v1","kind":"Deployment",
"metadata":{"name":"NAME","namespace":"of-NAME"},"spec":{"replicas":2,
"selector":{"matchLabels":{"app":"NAME"}},"template":{"metadata":{"labels":{"app":"NAME"}},
"spec":{"containers":[{"name":"main","image":"registry.example/NAME:1","resources":{"requests":{"memory":"100Mi"}}}]}}}}`, "NAME", name))
}
