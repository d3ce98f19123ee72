package memory_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/tasktest"
)

const (
	searchPath = "/v1/codex/memory/query"
	memoryPath = "/v1/codex/memory/"
)

// found searches as caller ci.
func (w *world) found(body string) api.MemoryResults {
	w.t.Helper()
	res, data := w.request(http.MethodPost, searchPath, apiToken, body)
	var results api.MemoryResults
	if err := json.Unmarshal(data, &results); err != nil || res.StatusCode != http.StatusOK {
		w.t.Fatalf("status %d, %v: %s", res.StatusCode, err, data)
	}
	return results
}

// outcome is the id of what learn stored for a task.
func (w *world) outcome(task uuid.UUID) string {
	w.t.Helper()
	return tasktest.Scan[string](w.t, w.db, `SELECT id::text FROM codex_task_memory_index WHERE task_id = $1 AND kind = 'outcome'`, task)
}

func TestSearchForCallers(t *testing.T) {
	t.Parallel()
	w := setup(t)
	web := w.learn(learned, memory.Task{Namespaces: []string{"web"}, ResourceKinds: []string{"Deployment"}, Tags: []string{"ha"}})
	db := w.learn("A disk was full of logs.", memory.Task{Namespaces: []string{"db"}})
	tasktest.Exec(t, w.db, "UPDATE codex_tasks SET project = 'shop' WHERE id = $1", web)
	tasktest.Exec(t, w.db, "UPDATE codex_task_memory_index SET created_at = '2026-01-05T10:00:00Z' WHERE task_id = $1", web)
	for body, want := range map[string][]uuid.UUID{
		`{"text":"more copies","kinds":["outcome"]}`:                           {web, db},
		`{"text":"more copies","kinds":["outcome"],"limit":1}`:                 {web},
		`{"vector":[0,1,0],"kinds":["outcome"],"limit":1}`:                     {db},
		`{"text":"disk","kinds":["diff","event"]}`:                             {},
		`{"text":"disk","kinds":["outcome"],"project":"shop"}`:                 {web},
		`{"text":"disk","project":"other"}`:                                    {},
		`{"text":"disk","namespace":"db"}`:                                     {db},
		`{"text":"disk","resourceKind":"Deployment"}`:                          {web},
		`{"text":"disk","tags":["ha"]}`:                                        {web},
		`{"text":"disk","kinds":["outcome"],"since":"2026-01-05T10:00:01Z"}`:   {db},
		`{"text":"copies","kinds":["outcome"],"since":"2026-01-05T10:00:00Z"}`: {web, db},
	} {
		results := w.found(body)
		if got := sources(results); !slices.Equal(got, want) || results.Recall.Mode != api.RecallModeHybrid {
			t.Errorf("%s: %v (%s), want %v", body, got, results.Recall.Mode, want)
		}
	}
	for _, body := range []string{
		`{}`, `{"text":"x","vector":[1,0,0]}`, `{"text":"x","kinds":["lesson"]}`, `{"text":"x","since":"yesterday"}`,
		`{"text":"x","project":"A B"}`, `{"text":"x","includeOwn":true}`, `{"vector":[1,0]}`, `{"text":"x","limit":0}`,
	} {
		if res, data := w.request(http.MethodPost, searchPath, apiToken, body); res.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s: status %d: %s", body, res.StatusCode, data)
		}
	}
}

func TestShowMemory(t *testing.T) {
	t.Parallel()
	w := setup(t)
	task := w.learn(learned, memory.Task{Namespaces: []string{"web"}, ResourceKinds: []string{"Deployment"}, Tags: []string{"ha"}})
	tasktest.Exec(t, w.db, "UPDATE codex_tasks SET project = 'shop' WHERE id = $1", task)
	tasktest.Exec(t, w.db, "UPDATE codex_memory_contents SET embedded_as = 'm@3' WHERE content = $1", learned)
	id := w.outcome(task)
	res, data := w.request(http.MethodGet, memoryPath+id, apiToken, "")
	var shown api.Memory
	if err := json.Unmarshal(data, &shown); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v: %s", res.StatusCode, err, data)
	}
	if shown.Content != learned || shown.Source != (api.MemorySource{TaskID: task, Kind: api.MemoryKindOutcome}) ||
		shown.Caller != "test" || shown.Project != "shop" || !slices.Equal(shown.Namespaces, []string{"web"}) ||
		!slices.Equal(shown.Tags, []string{"ha"}) || shown.Metadata["attempt"] != 1.0 || shown.Embedding != api.EmbeddingStateReady ||
		time.Since(shown.CreatedAt) > time.Minute {
		t.Errorf("shown %s", data)
	}
	tasktest.Exec(t, w.db, "UPDATE codex_memory_contents SET embedded_as = NULL, embedding_error = 'refused' WHERE content = $1", learned)
	if _, data = w.request(http.MethodGet, memoryPath+id, apiToken, ""); !strings.Contains(string(data), `"embedding":"failed"`) {
		t.Errorf("shown %s", data)
	}
	for path, status := range map[string]int{"x": 400, uuid.Must(uuid.NewV7()).String(): 404, id + "?full=true": 400} {
		if res, data := w.request(http.MethodGet, memoryPath+path, apiToken, ""); res.StatusCode != status {
			t.Errorf("%s: status %d, want %d: %s", path, res.StatusCode, status, data)
		}
	}
}

func TestForgetMemory(t *testing.T) {
	t.Parallel()
	w := setup(t)
	task := w.learn(learned, memory.Task{})
	twin := w.learn("A disk was full of logs.", memory.Task{})
	tasktest.Exec(t, w.db, "UPDATE codex_tasks SET caller = 'ci' WHERE id = $1", task)
	id := w.outcome(task)
	forget := func(id, token string, status int) {
		t.Helper()
		if res, data := w.request(http.MethodDelete, memoryPath+id, token, ""); res.StatusCode != status {
			t.Errorf("status %d, want %d: %s", res.StatusCode, status, data)
		}
	}
	forget(id, "", http.StatusUnauthorized)
	forget(id, w.token(task), http.StatusForbidden)
	forget(id, "other-token-12345", http.StatusForbidden)
	forget(w.outcome(twin), apiToken, http.StatusForbidden)
	if got := sources(w.found(`{"text":"ingress","kinds":["outcome"]}`)); !slices.Contains(got, task) {
		t.Fatalf("found %v before it is forgotten", got)
	}
	for range 2 {
		forget(id, apiToken, http.StatusNoContent)
	}
	forget(w.outcome(twin), opsToken, http.StatusNoContent) // an operator may forget others'
	forget(uuid.Must(uuid.NewV7()).String(), opsToken, http.StatusNotFound)
	forget("x", opsToken, http.StatusBadRequest)

	// Not the next writing of the same, the sweep or a replay brings it back.
	err := memory.Write(t.Context(), query.New(w.db), memory.Task{ID: task},
		memory.Part{Kind: memory.KindOutcome, Text: learned, Metadata: map[string]any{"attempt": 1}})
	if err != nil {
		t.Fatal(err)
	}
	q := query.New(w.db)
	if err := q.ReviveTask(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	if pending, err := q.CountPending(t.Context(), 0); err != nil || pending != 1 { // the two tasks' prompt
		t.Errorf("%d texts wait for a vector, %v; want 1", pending, err)
	}
	for _, body := range []string{`{"text":"ingress replicas","kinds":["outcome"]}`, `{"vector":[1,0,0],"kinds":["outcome"]}`} {
		if got := sources(w.found(body)); len(got) != 0 {
			t.Errorf("%s: found %v", body, got)
		}
	}
	if res, data := w.request(http.MethodGet, memoryPath+id, apiToken, ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("shown: status %d: %s", res.StatusCode, data)
	}
	audit := tasktest.Scan[string](t, w.db, `SELECT string_agg(operation || ' by ' || actor, ', ' ORDER BY id) FROM codex_operations`)
	if audit != "memory.forget by ci, memory.forget by ops" {
		t.Errorf("audit: %s", audit)
	}
	// Another task that says the same is remembered for itself.
	again := w.learnAgain(learned)
	if got := sources(w.found(`{"text":"ingress replicas","kinds":["outcome"]}`)); !slices.Equal(got, []uuid.UUID{again}) {
		t.Errorf("found %v, want %v", got, again)
	}
}

// learnAgain is learn for a text that has a vector.
func (w *world) learnAgain(text string) uuid.UUID {
	w.t.Helper()
	id := tasktest.Queued(w.t, w.db, tasktest.Task{Prompt: "zzz"}).ID
	err := memory.Write(w.t.Context(), query.New(w.db), memory.Task{ID: id}, memory.Part{Kind: memory.KindOutcome, Text: text})
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}
