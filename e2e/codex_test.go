//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/responsestest"
)

// modelKey is the model's, which the agent gets from a Secret and nobody is told.
const modelKey = "sk-scripted-0123456789abcdef"

// The real Codex CLI works in a Job, from an image that was built without Docker. Its
// model is a script that the test serves. It changes a manifest, whose change becomes the
// task's diff, and records a lesson by MCP, which another task finds.
func TestCodex(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	secret := "graf-e2e-" + s.run // a name that the policy of overlay e2e lets agents have keys of
	s.create(t, secrets, object{
		"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": secret, "namespace": graf}, "stringData": object{"key": modelKey},
	})
	lesson := "The shop of " + s.run + " needs two replicas at night."
	model := responsestest.NewOn(t, func(handler http.Handler) string { return serve(t, s.address, handler) },
		responsestest.Executes(`echo "my key is $OPENAI_API_KEY"; sed -i 's/replicas: 2/replicas: 3/' manifests/*.yaml; grep replicas manifests/*.yaml`),
		responsestest.CallsMCP("graf", "record_lesson", map[string]string{"lesson": lesson}),
		responsestest.Says("There are three replicas now."))
	created := s.submit(t, api.TaskSubmission{
		Prompt: "Give the shop a third replica. (" + s.run + ")",
		Agent: api.Agent{
			Kind: api.AgentKindCodex, Image: codexImage(t), Model: "scripted", Env: map[string]string{"OPENAI_BASE_URL": model.URL},
			SecretEnv: map[string]api.SecretKey{"OPENAI_API_KEY": {Name: secret, Key: "key"}},
		},
		Manifests:   []api.Manifest{deployment("codex-" + s.run)},
		MaxAttempts: new(1),
	})
	events, err := s.follow(within(t), created.TaskID)
	must(t, err)
	said := contents(events)
	task := s.await(t, created.TaskID, "ends", func(task api.Task) bool { return task.FinishedAt != nil })
	if task.Status != api.TaskStatusSucceeded {
		t.Fatalf("the task is %s: %+v\n%s", task.Status, task.Failure, said)
	}
	if left := model.Left(); left != 0 || model.Requests()[0].Authorization != "Bearer "+modelKey {
		t.Errorf("%d turns are left, asked by %q", left, model.Requests()[0].Authorization)
	}
	for _, want := range []string{`"kind":"command"`, `"exitCode":0`, "replicas: 3", `"tool":"record_lesson"`, lesson, "There are three replicas now."} {
		if !strings.Contains(said, want) {
			t.Errorf("no event has %s:\n%s", want, said)
		}
	}
	if strings.Contains(said, modelKey) {
		t.Errorf("an event has the key:\n%s", said)
	}
	if task.Usage.InputTokens != 300 || task.Usage.OutputTokens != 30 {
		t.Errorf("usage %+v", task.Usage)
	}
	if task.Diff == nil || !strings.Contains(task.Diff.Unified, "+  replicas: 3") {
		t.Errorf("diff %+v", task.Diff)
	}
	eventually(t, "the lesson is found", func() bool {
		var found api.MemoryResults
		return s.call(t, http.MethodPost, s.urls["memory"]+"/v1/codex/memory/query", map[string]any{"text": lesson}, &found) == nil &&
			slices.ContainsFunc(found.Results, func(m api.MemoryResult) bool { return strings.Contains(m.Snippet, lesson) })
	})
}

// contents are the events as lines.
func contents(events []api.TaskEvent) string {
	var b strings.Builder
	for _, event := range events {
		fmt.Fprintf(&b, "%s %s\n", event.EventType, event.Content)
	}
	return b.String()
}
