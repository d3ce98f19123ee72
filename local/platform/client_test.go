package platform

import (
	"bufio"
	"cmp"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/apitest"
)

// call makes one call with the API token. The answer is held to the OpenAPI
// document; 503 and 429, which faults bring, give false.
func (s *system) call(t *testing.T, method, path string, body, out any, headers ...string) (int, bool) {
	t.Helper()
	request, err := apitest.NewRequest(within(t), method, s.URL()+path, s.Token(), body, headers...)
	must(t, err)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	answer := apitest.CheckResponse(t, response)
	switch {
	case response.StatusCode == http.StatusServiceUnavailable, response.StatusCode == http.StatusTooManyRequests:
		return response.StatusCode, false
	case response.StatusCode >= 300:
		t.Fatalf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	must(t, json.Unmarshal(answer, out))
	return response.StatusCode, true
}

// submit submits a task as a careful client does: with a key, and again when
// Graf is away for a moment.
func (s *system) submit(t *testing.T, submission api.TaskSubmission) api.TaskCreated {
	t.Helper()
	var created api.TaskCreated
	submission.OrchestrationMode = cmp.Or(submission.OrchestrationMode, s.mode)
	key := uuid.NewString()
	eventually(t, "a submission is taken", func() bool {
		_, ok := s.call(t, http.MethodPost, "/v1/codex/tasks", submission, &created, "Idempotency-Key", key)
		return ok
	})
	s.keepSecret(created.Callback.Token)
	return created
}

func (s *system) cancel(t *testing.T, id uuid.UUID) {
	t.Helper()
	eventually(t, "a cancellation is taken", func() bool {
		_, ok := s.call(t, http.MethodPost, "/v1/codex/tasks/"+id.String()+"/cancel",
			api.TaskCancellation{Reason: "not needed any more"}, &api.TaskCancelled{})
		return ok
	})
}

// await polls the task until ok.
func (s *system) await(t *testing.T, id uuid.UUID, what string, ok func(api.Task) bool) api.Task {
	t.Helper()
	var task api.Task
	eventually(t, "task "+id.String()+": "+what, func() bool {
		task = api.Task{}
		_, answered := s.call(t, http.MethodGet, "/v1/codex/tasks/"+id.String(), nil, &task)
		return answered && ok(task)
	})
	return task
}

func (s *system) awaitStatus(t *testing.T, id uuid.UUID, status api.TaskStatus) api.Task {
	t.Helper()
	task := s.await(t, id, "becomes "+string(status)+", or ends", func(task api.Task) bool {
		return task.Status == status || task.FinishedAt != nil
	})
	if task.Status != status {
		t.Fatalf("task %s is %s, not %s: %+v", id, task.Status, status, task.Failure)
	}
	return task
}

// stream follows the task's events live until the stream says that it ended.
func (s *system) stream(t *testing.T, id uuid.UUID) []api.TaskEvent {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t), http.MethodGet, s.URL()+"/v1/codex/tasks/"+id.String()+"/events", nil)
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+s.Token())
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	apitest.CheckResponse(t, response)
	var events []api.TaskEvent
	var name string
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "event":
			name = value
		case field == "data" && name == "end":
			return events
		case field == "data":
			apitest.CheckSchema(t, "TaskEvent", []byte(value))
			var event api.TaskEvent
			must(t, json.Unmarshal([]byte(value), &event))
			events = append(events, event)
		}
	}
	t.Fatalf("the stream of task %s broke off after %d events: %v", id, len(events), lines.Err())
	return nil
}

// pages reads the task's events two at a time.
func (s *system) pages(t *testing.T, id uuid.UUID) []api.TaskEvent {
	t.Helper()
	var events []api.TaskEvent
	for query := "?limit=2"; ; {
		var page api.EventPage
		if _, ok := s.call(t, http.MethodGet, "/v1/codex/tasks/"+id.String()+"/events"+query, nil, &page); !ok {
			t.Fatal("the events cannot be read")
		}
		events = append(events, page.Events...)
		if page.NextCursor == "" {
			return events
		}
		query = "?limit=2&cursor=" + page.NextCursor
	}
}

// shell is a submission of a task that a shell script does.
func shell(prompt, script string, environment ...string) api.TaskSubmission {
	submission := api.TaskSubmission{
		Prompt: prompt, Agent: api.Agent{Kind: api.AgentKindCommand, Command: []string{"sh", "-c", script}, Env: map[string]string{}},
	}
	for i := 0; i+1 < len(environment); i += 2 {
		submission.Agent.Env[environment[i]] = environment[i+1]
	}
	return submission
}

// waitForGate is the script of an agent that waits until the test makes a file.
const waitForGate = `until [ -e "$GATE" ]; do sleep 0.05; done`

func touch(t *testing.T, path string) {
	t.Helper()
	must(t, os.WriteFile(path, nil, 0o600))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// change is a submission whose agent sets the memory limit of a Deployment to
// value, by the example agent. before and after are script lines around it; the
// agent's prompt and token are left in notes called name.
func (s *system) change(name, prompt, value, before, after string, flags ...string) api.TaskSubmission {
	script := `set -e
cat "$GRAF_PROMPT_FILE" >> "$NOTE.prompt"; printf '%s\n' "$GRAF_CALLBACK_TOKEN" >> "$NOTE.tokens"
` + before + `
manifest-agent --name ` + name + ` --set "spec.template.spec.containers[name=main].resources.limits.memory=` + value + `" "$@"
` + after
	submission := shell(prompt, script, "NOTE", s.note(name), "GATE", s.note(name+".gate"))
	submission.Agent.Command = slices.Concat(submission.Agent.Command, []string{"agent"}, flags)
	submission.TargetResources = []api.ResourceReference{{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "of-" + name, Name: name}}
	submission.Manifests = []api.Manifest{deployment(name)}
	return submission
}

// deployment is a manifest whose container requests 100Mi of memory.
func deployment(name string) json.RawMessage {
	return json.RawMessage(strings.ReplaceAll(`{"apiVersion":"apps/v1","kind":"Deployment",
"metadata":{"name":"NAME","namespace":"of-NAME"},"spec":{"replicas":2,
"selector":{"matchLabels":{"app":"NAME"}},"template":{"metadata":{"labels":{"app":"NAME"}},
"spec":{"containers":[{"name":"main","image":"registry.example/NAME:1","resources":{"requests":{"memory":"100Mi"}}}]}}}}`, "NAME", name))
}
