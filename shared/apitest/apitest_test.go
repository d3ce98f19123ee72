package apitest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	yaml "go.yaml.in/yaml/v3"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/apitest"
	"github.com/graf-run/graf/shared/problem"
)

// recorder stands for the test that a check is made in, to see it fail.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, a ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, a...))
}
func (r *recorder) Fatalf(format string, a ...any) { r.Errorf(format, a...); panic(r) }
func (r *recorder) Fatal(a ...any)                 { r.Fatalf("%s", fmt.Sprint(a...)) }

// failures checks an answer and returns what was found wrong with it.
func failures(t *testing.T, method, target string, w *httptest.ResponseRecorder) (found string) {
	t.Helper()
	rec := &recorder{TB: t}
	defer func() {
		if cause := recover(); cause != nil && cause != any(rec) {
			panic(cause)
		}
		found = strings.Join(rec.failures, "\n")
	}()
	apitest.CheckRecorder(rec, httptest.NewRequestWithContext(t.Context(), method, target, nil), w.Result())
	return ""
}

// answer is a recorded answer with a body.
func answer(t *testing.T, status int, media string, body any) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", media)
	w.Header().Set("Location", "/v1/codex/tasks/x")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		t.Fatal(err)
	}
	return w
}

const tasks = "/v1/codex/tasks"

func task() api.Task {
	now := time.Now()
	return api.Task{
		TaskID: uuid.Must(uuid.NewV7()), Status: api.TaskStatusSucceeded, Caller: "alice", Prompt: "a",
		TargetResources: []api.ResourceReference{}, OrchestrationMode: api.OrchestrationModeDirect,
		Agent: api.AgentSummary{Kind: "command", Command: []string{"true"}}, Tags: []string{}, Metadata: api.Metadata(`{}`),
		Attempts: []api.Attempt{{Attempt: 1, LaunchedAt: now}},
		Snapshots: []api.Snapshot{{
			SnapshotID: uuid.Must(uuid.NewV7()), Attempt: 1, Type: api.SnapshotTypeAfter, CreatedAt: now,
			Digest:    "sha256:" + strings.Repeat("0", 64),
			Manifests: []api.Manifest{json.RawMessage(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","uid":"b"},"spec":{}}`)},
		}},
		Artifacts:  []api.Artifact{},
		Embeddings: api.EmbeddingReadiness{Prompt: "ready", Before: "none", After: "pending", Diff: "failed", Events: "none"},
		Memories:   []api.RecalledMemory{}, CreatedAt: now, UpdatedAt: now, FinishedAt: &now,
	}
}

func TestCheckResponse(t *testing.T) {
	t.Parallel()
	withUnknown := map[string]any{"taskId": uuid.NewString(), "status": "queued", "secret": "x"}
	broken := task()
	broken.Status = "lost"
	event := httptest.NewRecorder()
	event.Header().Set("Content-Type", "text/event-stream")
	refused := httptest.NewRecorder()
	problem.Write(refused, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), problem.ErrUnauthenticated.With("No."))
	tests := []struct {
		name, method, target string
		answer               *httptest.ResponseRecorder
		want                 string
	}{
		{"a task", "GET", tasks + "/1", answer(t, 200, "application/json", task()), ""},
		{"a page", "GET", tasks + "?limit=1", answer(t, 200, "application/json; charset=utf-8", api.TaskPage{Tasks: []api.TaskSummary{}}), ""},
		{"a problem", "GET", tasks, refused, ""},
		{"an event stream", "GET", tasks + "/1/events", event, ""},
		{"a bad value", "GET", tasks + "/1", answer(t, 200, "application/json", broken), "'/status'"},
		{"a field that is not written down", "POST", tasks + "/1/cancel", answer(t, 202, "application/json", withUnknown), "'secret' not allowed"},
		{"another status", "GET", tasks, answer(t, 418, "application/problem+json", problem.Problem{}), "status 418 is not in the document"},
		{"another media type", "GET", tasks, answer(t, 200, "text/html", "x"), `Content-Type "text/html" is not in the document`},
		{"another path", "GET", "/v2", answer(t, 200, "text/html", "x"), "no operation for GET /v2"},
		{"no header", "GET", tasks, answer(t, 401, problem.ContentType, problem.Of(problem.ErrUnauthenticated)), "the header WWW-Authenticate is missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := failures(t, test.method, test.target, test.answer)
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("failures %q, want %q", got, test.want)
			}
		})
	}
}

func TestCheckResponseLeavesTheBody(t *testing.T) {
	t.Parallel()
	result := answer(t, 200, "application/json", api.TaskPage{Tasks: []api.TaskSummary{}}).Result()
	body := apitest.CheckRecorder(t, httptest.NewRequestWithContext(t.Context(), http.MethodGet, tasks, nil), result)
	again, err := io.ReadAll(result.Body)
	if err != nil || string(again) != string(body) {
		t.Errorf("body %q, %v, want %q", again, err, body)
	}
}

// TestExamples holds the document's own examples to its schemas.
func TestExamples(t *testing.T) {
	t.Parallel()
	var root any
	if err := yaml.Unmarshal(api.Document(), &root); err != nil {
		t.Fatal(err)
	}
	checked := 0
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			checked += checkExamples(t, node)
			for _, child := range node {
				walk(child)
			}
		case []any:
			for _, child := range node {
				walk(child)
			}
		}
	}
	walk(root)
	if checked < 6 {
		t.Errorf("%d examples found, want 6 or more", checked)
	}
}

// checkExamples checks those of one media type object.
func checkExamples(t *testing.T, media map[string]any) int {
	t.Helper()
	examples, ok := media["examples"].(map[string]any)
	if !ok {
		return 0
	}
	ref, ok := media["schema"].(map[string]any)["$ref"].(string)
	for name, example := range examples {
		value := example.(map[string]any)["value"]
		schema := strings.TrimPrefix(ref, "#/components/schemas/")
		if !ok {
			// The one schema that is no reference: an event or an array.
			schema = "Event"
			if _, array := value.([]any); array {
				schema = "EventBatch"
			}
		}
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		apitest.CheckSchema(t, schema, data)
	}
	return len(examples)
}
