package memory_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/tasktest"
)

const (
	prompt  = "Run more copies of the web server."
	learned = "The ingress needs three replicas."
)

func TestMemoryByPrompt(t *testing.T) {
	t.Parallel()
	w := setup(t)
	task := tasktest.Queued(t, w.db, tasktest.Task{Prompt: prompt}).ID
	source := w.learn(learned, memory.Task{Namespaces: []string{"web"}, ResourceKinds: []string{"Deployment"}})
	other := w.learn("A disk was full of logs.", memory.Task{Namespaces: []string{"db"}})
	w.embed(prompt)

	results := w.results(task, "", "")
	if !slices.Equal(sources(results), []uuid.UUID{source, other}) || results.Recall.Mode != api.RecallModeHybrid {
		t.Fatalf("%+v", results)
	}
	first := results.Results[0]
	if first.Snippet != learned || first.Source.Kind != api.MemoryKindOutcome || first.Metadata["attempt"] != 1.0 {
		t.Errorf("first %+v", first)
	}
	for parameters, want := range map[string][]uuid.UUID{
		"?limit=1":                              {source},
		"?namespace=db":                         {other},
		"?namespace=nowhere":                    {},
		"?resourceKind=Deployment":              {source},
		"?namespace=db&resourceKind=Deployment": {},
	} {
		if got := sources(w.results(task, parameters, "")); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", parameters, got, want)
		}
	}
	if got := sources(w.results(task, "?includeOwn=true", "")); !slices.Contains(got, task) {
		t.Errorf("includeOwn: %v has none of %s", got, task)
	}
}

func TestMemoryByPromptWithoutItsVector(t *testing.T) {
	t.Parallel()
	w := setup(t)
	task := tasktest.Queued(t, w.db, tasktest.Task{Prompt: "Which ingress?"}).ID
	source := w.learn(learned, memory.Task{})
	results := w.results(task, "", "")
	if !slices.Equal(sources(results), []uuid.UUID{source}) || results.Recall.Mode != api.RecallModeTextOnly ||
		!strings.Contains(results.Recall.Reason, model) {
		t.Errorf("%+v", results)
	}
}

func TestMemoryQuery(t *testing.T) {
	t.Parallel()
	w := setup(t)
	task := tasktest.Queued(t, w.db, tasktest.Task{Prompt: prompt}).ID
	source := w.learn(learned, memory.Task{Namespaces: []string{"web"}, Tags: []string{"scale", "ha"}})
	other := w.learn("A disk was full of logs.", memory.Task{Namespaces: []string{"db"}, Tags: []string{"ha"}})
	tests := []struct {
		name, body string
		want       []uuid.UUID
	}{
		{"a text in other words", `{"text":"more copies","limit":1}`, []uuid.UUID{source}},
		{"a text in the same words", `{"text":"full disk"}`, []uuid.UUID{other, source}},
		{"a vector", `{"vector":[0,1,0],"limit":1}`, []uuid.UUID{other}},
		{"a huge vector", `{"vector":[0,1e30,0],"limit":1}`, []uuid.UUID{other}},
		{"namespace", `{"text":"disk","namespace":"web"}`, []uuid.UUID{source}},
		{"all tags", `{"text":"disk","tags":["ha","scale"]}`, []uuid.UUID{source}},
		{"no such kind", `{"text":"disk","resourceKind":"Service"}`, []uuid.UUID{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			results := w.results(task, "", test.body)
			if !slices.Equal(sources(results), test.want) || results.Recall.Mode != api.RecallModeHybrid {
				t.Errorf("%+v, want %v", results, test.want)
			}
		})
	}
}

// The model being away, slow or unwilling costs a query its vector, no more.
func TestMemoryQueryWithoutTheModel(t *testing.T) {
	t.Parallel()
	released := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-released:
		}
	}))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(released) })
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":{"message":"account acct-1 is closed"}}`, http.StatusUnauthorized)
	}))
	t.Cleanup(refusing.Close)
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	for name, url := range map[string]string{"slow": slow.URL, "refusing": refusing.URL, "away": away.URL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, "OPENAI_BASE_URL", url, "GRAF_MEMORY_EMBEDDING_WAIT", "100ms")
			task := tasktest.Queued(t, w.db, tasktest.Task{Prompt: prompt}).ID
			source := w.learn(learned, memory.Task{})
			results := w.results(task, "", `{"text":"the ingress"}`)
			if !slices.Equal(sources(results), []uuid.UUID{source}) || results.Recall.Mode != api.RecallModeTextOnly ||
				!strings.HasPrefix(results.Recall.Reason, "the embedding model") {
				t.Errorf("%+v", results)
			}
			if strings.Contains(results.Recall.Reason, "acct-1") {
				t.Errorf("reason %q shows what the provider said", results.Recall.Reason)
			}
		})
	}
}
