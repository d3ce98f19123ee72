package submit_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/eventtest"
)

const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"

func TestSubmitStoresAndAnnounces(t *testing.T) {
	t.Parallel()
	w := setup(t)
	var created api.TaskCreated
	res := w.call(http.MethodPost, "/v1/codex/tasks", full, http.StatusCreated, &created,
		"Idempotency-Key", "change-4711", "traceparent", "00-"+traceID+"-00f067aa0ba902b7-01")
	id := created.TaskID.String()
	if got := res.Header.Get("Location"); got != "/v1/codex/tasks/"+id {
		t.Errorf("Location = %q", got)
	}
	if created.Callback.URL != "http://callback.test/v1/codex/tasks/"+id+"/events" ||
		created.MemoryEndpoint.URL != "http://memory.test/v1/codex/tasks/"+id+"/memory" {
		t.Errorf("URLs = %q, %q", created.Callback.URL, created.MemoryEndpoint.URL)
	}
	if created.Status != api.TaskStatusQueued || created.TaskID.Version() != 7 {
		t.Errorf("created = %+v", created)
	}
	w.wantToken(created)

	events := w.sink.Wait(w.context, t, id, 1)
	eventtest.Golden(t, "task.submitted", events[0])
	if trace := fmt.Sprint(events[0].Extensions()["traceparent"]); !strings.Contains(trace, traceID) {
		t.Errorf("the event's traceparent is %q, not of trace %s", trace, traceID)
	}
	for sql, want := range map[string]int{
		"SELECT count(*) FROM codex_outbox WHERE $1 <> ''":                                                                                                                       0,
		"SELECT count(*) FROM codex_tasks WHERE id::text = $1 AND caller = 'ci' AND trace_parent LIKE '%" + traceID + "%'":                                                       1,
		"SELECT count(*) FROM codex_task_transitions WHERE task_id::text = $1 AND to_status = 'queued' AND actor = 'graf/submit'":                                                1,
		"SELECT count(*) FROM codex_task_memory_index WHERE task_id::text = $1 AND kind = 'prompt'":                                                                              1,
		"SELECT count(*) FROM codex_task_memory_index WHERE task_id::text = $1 AND kind = 'before'":                                                                              2,
		"SELECT count(*) FROM codex_task_memory_index WHERE task_id::text = $1 AND namespaces = '{default,knative-eventing}'":                                                    3,
		"SELECT count(*) FROM codex_task_memory_index WHERE task_id::text = $1 AND resource_kinds = '{Deployment,Namespace}'":                                                    3,
		"SELECT count(*) FROM codex_task_snapshots WHERE task_id::text = $1 AND type = 'before' AND attempt = 0":                                                                 1,
		"SELECT count(*) FROM codex_task_snapshots WHERE task_id::text = $1 AND manifests::text LIKE '%hunter2%'":                                                                0,
		"SELECT count(*) FROM codex_task_memory_index JOIN codex_memory_contents USING (content_hash) WHERE task_id::text = $1 AND (content || metadata::text) LIKE '%hunter2%'": 0,
		"SELECT count(*) FROM codex_tasks k WHERE id::text = $1 AND k::text LIKE '%" + created.Callback.Token + "%'":                                                             0,
	} {
		if got := w.count(sql, id); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
}

// What is secret in lists and in the variables of containers is not stored.
func TestSecretsAreNotStored(t *testing.T) {
	t.Parallel()
	w := setup(t)
	created := w.submit(with(`"manifests":[
		{"apiVersion":"v1","kind":"SecretList","metadata":{"name":"l"},"items":[{"metadata":{"name":"db"},"data":{"dsn":"aHVudGVyMi1odW50ZXIy"}}]},
		{"apiVersion":"v1","kind":"List","metadata":{"name":"l"},"items":[{"apiVersion":"v1","kind":"Secret","metadata":{"name":"web"},"stringData":{"dsn":"hunter2-hunter2"}}]},
		{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"app","env":[{"name":"DB_PASSWORD","value":"hunter2-hunter2"}]}]}}]`),
		http.StatusCreated)
	for sql, want := range map[string]int{
		"SELECT json_array_length(manifests::json) FROM codex_task_snapshots WHERE task_id = $1":                                                                               3,
		"SELECT count(*) FROM codex_task_memory_index WHERE task_id = $1 AND kind = 'before'":                                                                                  3,
		"SELECT count(*) FROM codex_task_snapshots WHERE task_id = $1 AND manifests::text ~ 'hunter2|aHVudGVy'":                                                                0,
		"SELECT count(*) FROM codex_task_memory_index JOIN codex_memory_contents USING (content_hash) WHERE task_id = $1 AND (content || metadata::text) ~ 'hunter2|aHVudGVy'": 0,
	} {
		if got := w.count(sql, created.TaskID); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
}

// wantToken checks that the token of an answer is stored, as its hash only.
func (w *world) wantToken(created api.TaskCreated) {
	w.t.Helper()
	hash := sha256.Sum256([]byte(created.Callback.Token))
	if n := w.count("SELECT count(*) FROM codex_task_tokens WHERE task_id = $1 AND token_hash = $2 AND issued_to = 'submitter'",
		created.TaskID, hash[:]); n != 1 {
		w.t.Errorf("token %q of task %s is stored %d times, want once", created.Callback.Token, created.TaskID, n)
	}
}

func TestSubmitAgain(t *testing.T) {
	t.Parallel()
	w := setup(t)
	first := w.submit(full, http.StatusCreated, "Idempotency-Key", "k")
	// The same request in other words: keys in another order, other white
	// space, the key in the body, defaults spelled out.
	var tree map[string]any
	decoder := json.NewDecoder(strings.NewReader(full))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	tree["orchestrationMode"], tree["idempotencyKey"] = "direct", "k"
	again, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	second := w.submit(string(again), http.StatusOK)
	if second.TaskID != first.TaskID || !second.CreatedAt.Equal(first.CreatedAt) {
		t.Errorf("the repetition is task %s of %s, want %s of %s", second.TaskID, second.CreatedAt, first.TaskID, first.CreatedAt)
	}
	w.wantToken(first)
	w.wantToken(second)
	if second.Callback.Token == first.Callback.Token {
		t.Error("a token was kept to be shown twice")
	}
	w.sink.Wait(w.context, t, first.TaskID.String(), 1)
	if n := len(w.sink.Events()); n != 1 {
		t.Errorf("%d events, want one", n)
	}
	if n := w.count("SELECT count(*) FROM codex_tasks"); n != 1 {
		t.Errorf("%d tasks, want one", n)
	}
}

func TestSubmitAgainKeepsTheNewestTokens(t *testing.T) {
	t.Parallel()
	w := setup(t)
	var created []api.TaskCreated
	created = append(created, w.submit(minimal, http.StatusCreated, "Idempotency-Key", "k"))
	for range 10 {
		created = append(created, w.submit(minimal, http.StatusOK, "Idempotency-Key", "k"))
	}
	if n := w.count("SELECT count(*) FROM codex_task_tokens"); n != 8 {
		t.Errorf("%d tokens are kept, want 8", n)
	}
	for _, c := range created[len(created)-8:] {
		w.wantToken(c)
	}
}

func TestSubmitAgainAfterTheEnd(t *testing.T) {
	t.Parallel()
	w := setup(t)
	first := w.submit(minimal, http.StatusCreated, "Idempotency-Key", "k")
	w.move(first.TaskID.String(), "launching", "running", "finalizing", "succeeded")
	again := w.submit(minimal, http.StatusOK, "Idempotency-Key", "k")
	if again.TaskID != first.TaskID || again.Status != api.TaskStatusSucceeded || again.Callback.Token != "" {
		t.Errorf("again = %+v, want the task that succeeded, without a token", again)
	}
}

func TestSubmitAtOnce(t *testing.T) {
	t.Parallel()
	w := setup(t)
	const clients = 8
	ids := make([]string, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			res := w.request(http.MethodPost, "/v1/codex/tasks", testToken, minimal, "Idempotency-Key", "k")
			var created api.TaskCreated
			if err := json.NewDecoder(res.Body).Decode(&created); err != nil {
				t.Error(err)
			}
			ids[i] = created.TaskID.String()
		})
	}
	wg.Wait()
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 1 || w.count("SELECT count(*) FROM codex_tasks") != 1 {
		t.Errorf("one key made tasks %v", ids)
	}
	if n := w.count("SELECT count(*) FROM codex_task_tokens"); n != clients {
		t.Errorf("%d tokens, want one for each client", n)
	}
}

func TestKeysAreApart(t *testing.T) {
	t.Parallel()
	w := setup(t)
	first := w.submit(minimal, http.StatusCreated)
	second := w.submit(minimal, http.StatusCreated)
	if first.TaskID == second.TaskID {
		t.Error("two submissions without a key are one task")
	}
	w.submit(minimal, http.StatusCreated, "Idempotency-Key", "k")
	other := w.request(http.MethodPost, "/v1/codex/tasks", otherToken, minimal, "Idempotency-Key", "k")
	if other.StatusCode != http.StatusCreated {
		t.Errorf("another caller's use of a key: status %d, want 201", other.StatusCode)
	}
	if n := w.count("SELECT count(*) FROM codex_tasks WHERE caller = 'ops'"); n != 1 {
		t.Errorf("%d tasks of the other caller, want one", n)
	}
}

// What the Broker does not take now stays in the outbox for the sweep, and the
// submission succeeds.
func TestSubmitWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.sink.Refuse(true)
	created := w.submit(minimal, http.StatusCreated)
	if n := w.count("SELECT count(*) FROM codex_outbox WHERE event->>'subject' = $1 AND event->>'type' = $2",
		created.TaskID.String(), event.TypeTaskSubmitted); n != 1 {
		t.Errorf("%d events wait in the outbox, want one", n)
	}
}

func TestSubmitWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_REDIS_URL", "redis://127.0.0.1:1/0")
	w.submit(minimal, http.StatusCreated)
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_RATE_LIMIT_PER_SECOND", "0.01", "GRAF_RATE_LIMIT_BURST", "2")
	w.submit(minimal, http.StatusCreated)
	w.call(http.MethodGet, "/v1/codex/tasks", "", http.StatusOK, nil)
	res := w.call(http.MethodGet, "/v1/codex/tasks", "", http.StatusTooManyRequests, nil)
	if res.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	if other := w.request(http.MethodGet, "/v1/codex/tasks", otherToken, ""); other.StatusCode != http.StatusOK {
		t.Errorf("another caller is limited, too: status %d", other.StatusCode)
	}
}

func TestDisabled(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_CODEX_TASKS_ENABLED", "false")
	id := "01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d"
	for _, target := range []string{"POST /v1/codex/tasks", "GET /v1/codex/tasks", "GET /v1/codex/tasks/" + id, "POST /v1/codex/tasks/" + id + "/cancel"} {
		method, path, _ := strings.Cut(target, " ")
		w.call(method, path, "", http.StatusServiceUnavailable, nil)
	}
	if status, _ := w.deliver(t, requested(t, testSource, "1", minimal)); status != http.StatusServiceUnavailable {
		t.Errorf("event: status %d, want 503, so that it comes again", status)
	}
}
