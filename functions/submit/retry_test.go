package submit_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
)

// end ends a task as finalize would.
func (w *world) end(id, status string) {
	w.t.Helper()
	w.move(id, "launching", "running", "finalizing")
	w.exec(`UPDATE codex_tasks SET status = $2, updated_by = 'test', failure_class = 'agent', failure_reason = 'exit 1' WHERE id = $1`,
		id, status)
}

func (w *world) retry(id, body string, status int, headers ...string) api.TaskCreated {
	w.t.Helper()
	var created api.TaskCreated
	w.call(http.MethodPost, "/v1/codex/tasks/"+id+"/retry", body, status, &created, headers...)
	return created
}

func TestRetryIsTheSameSubmission(t *testing.T) {
	t.Parallel()
	w := setup(t)
	withBudget := strings.Replace(full, `"priority": 7`, `"priority": 7, "budget": {"tokens": 5000, "usd": 1.5}`, 1)
	old := w.submit(withBudget, http.StatusCreated).TaskID.String()
	w.end(old, "failed")
	created := w.retry(old, "", http.StatusCreated)
	id := created.TaskID.String()
	if created.RetryOf == nil || created.RetryOf.String() != old || created.Callback.Token == "" || id == old {
		t.Errorf("created %+v", created)
	}
	task := w.get(id)
	if task.RetryOf == nil || task.RetryOf.String() != old || task.Status != api.TaskStatusQueued || task.Attempt != 0 ||
		task.Budget == nil || *task.Budget.Tokens != 5000 || *task.Budget.Usd != 1.5 || task.Failure != nil {
		t.Errorf("task %+v", task)
	}
	const same = `SELECT count(*) FROM codex_tasks a JOIN codex_tasks b ON b.id = $2 WHERE a.id = $1
		AND (a.prompt, a.target_resources, a.agent, a.priority, a.timeout_seconds, a.max_attempts, a.tags, a.metadata, a.manifest_salt, a.namespaces)
		  = (b.prompt, b.target_resources, b.agent, b.priority, b.timeout_seconds, b.max_attempts, b.tags, b.metadata, b.manifest_salt, b.namespaces)`
	if w.count(same, id, old) != 1 {
		t.Error("the new task's submission is not that of the old one")
	}
	// Digests of a Secret's values are taken over, not made digests of digests.
	const snapshots = `SELECT count(DISTINCT (digest, manifests::text)) FROM codex_task_snapshots WHERE task_id IN ($1, $2)`
	if w.count(snapshots, id, old) != 1 {
		t.Error("the state before is not that of the old task")
	}
	w.sink.Wait(w.context, t, id, 1)
	if events := w.sink.About(id); events[0].Type() != event.TypeTaskSubmitted {
		t.Errorf("announced %s", events[0].Type())
	}
	var page api.TaskPage
	w.call(http.MethodGet, "/v1/codex/tasks?limit=1", "", http.StatusOK, &page)
	if page.Tasks[0].RetryOf == nil || page.Tasks[0].RetryOf.String() != old {
		t.Errorf("listed %+v", page.Tasks[0])
	}
}

func TestRetryApplies(t *testing.T) {
	t.Parallel()
	w := setup(t)
	old := w.submit(careful(`, "apply": true, "manifests": [`+shopConfigMap+`]`), http.StatusCreated).TaskID.String()
	w.end(old, "timed_out")
	id := w.retry(old, "", http.StatusCreated).TaskID.String()
	if w.count(`SELECT count(DISTINCT manifests::text) FROM codex_task_manifests WHERE task_id IN ($1, $2)`, id, old) != 1 ||
		w.count(`SELECT count(*) FROM codex_task_manifests WHERE task_id = $1`, id) != 1 {
		t.Error("what is to be applied is not what was")
	}
}

func TestRetryIsIdempotent(t *testing.T) {
	t.Parallel()
	w := setup(t)
	old := w.submit(minimal, http.StatusCreated).TaskID.String()
	other := w.submit(minimal, http.StatusCreated).TaskID.String()
	w.end(old, "failed")
	w.end(other, "failed")
	ids := make([]uuid.UUID, 4)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			res := w.request(http.MethodPost, "/v1/codex/tasks/"+old+"/retry", testToken, `{"idempotencyKey":"again"}`)
			var created api.TaskCreated
			if err := json.NewDecoder(res.Body).Decode(&created); err != nil {
				t.Error(err)
			}
			ids[i] = created.TaskID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || id == uuid.Nil {
			t.Fatalf("one key made the tasks %v", ids)
		}
	}
	if repeated := w.retry(old, "", http.StatusOK, "Idempotency-Key", "again"); repeated.TaskID != ids[0] || repeated.RetryOf.String() != old {
		t.Errorf("repeated %+v", repeated)
	}
	// The key is this retry's: not another task's, and no submission's.
	w.call(http.MethodPost, "/v1/codex/tasks/"+other+"/retry", `{"idempotencyKey":"again"}`, http.StatusUnprocessableEntity, nil)
	w.call(http.MethodPost, "/v1/codex/tasks", minimal, http.StatusUnprocessableEntity, nil, "Idempotency-Key", "again")
	if first, second := w.retry(old, "{}", http.StatusCreated), w.retry(old, "", http.StatusCreated); first.TaskID == second.TaskID {
		t.Error("two retries without a key are one task")
	}
}

func TestRetryRefuses(t *testing.T) {
	t.Parallel()
	w := setup(t)
	running, succeeded := w.submit(minimal, http.StatusCreated).TaskID.String(), w.submit(minimal, http.StatusCreated).TaskID.String()
	w.move(running, "launching", "running")
	w.end(succeeded, "succeeded")
	retry := func(id string) string { return "/v1/codex/tasks/" + id + "/retry" }
	w.call(http.MethodPost, retry(running), "", http.StatusConflict, nil)
	w.call(http.MethodPost, retry(running), `{"force":true}`, http.StatusConflict, nil)
	w.call(http.MethodPost, retry(succeeded), "", http.StatusConflict, nil)
	w.call(http.MethodPost, retry(succeeded), `{"force":true}`, http.StatusCreated, nil)
	w.call(http.MethodPost, retry(uuid.Must(uuid.NewV7()).String()), "", http.StatusNotFound, nil)
	w.call(http.MethodPost, retry("x"), "", http.StatusBadRequest, nil)
	w.call(http.MethodPost, retry(succeeded), `{"force":1}`, http.StatusUnprocessableEntity, nil)
	w.call(http.MethodPost, retry(succeeded), `{`, http.StatusBadRequest, nil)
}

// A task's environment is its caller's own: no other one has it run but operators, about whom the policy decides anew.
func TestRetryOfAnotherCallersTask(t *testing.T) {
	t.Parallel()
	for operators, wants := range map[string]struct {
		status  int
		guarded string // why one of project careful is, which is for caller ci alone
	}{
		"":    {http.StatusForbidden, "GRAF_OPERATORS"},
		"ci":  {http.StatusForbidden, "GRAF_OPERATORS"},
		"ops": {http.StatusCreated, "not allowed"},
	} {
		t.Run(operators, func(t *testing.T) {
			t.Parallel()
			w := setup(t, "GRAF_OPERATORS", operators)
			own, guarded := w.submit(full, http.StatusCreated).TaskID.String(), w.submit(careful(""), http.StatusCreated).TaskID.String()
			w.end(own, "failed")
			w.end(guarded, "failed")
			res := w.request(http.MethodPost, "/v1/codex/tasks/"+own+"/retry", otherToken, "")
			if res.StatusCode != wants.status {
				t.Errorf("status %d, want %d", res.StatusCode, wants.status)
			} else if wants.status == http.StatusForbidden && !strings.Contains(problemOf(t, res).Detail, "GRAF_OPERATORS") {
				t.Error("it is not said who may")
			}
			res = w.request(http.MethodPost, "/v1/codex/tasks/"+guarded+"/retry", otherToken, "")
			if p := problemOf(t, res); res.StatusCode != http.StatusForbidden || !strings.Contains(p.Detail, wants.guarded) {
				t.Errorf("status %d of a project for others: %q, want 403 for %q", res.StatusCode, p.Detail, wants.guarded)
			}
			tasks := 2
			if wants.status == http.StatusCreated {
				tasks++
			}
			if n := w.count("SELECT count(*) FROM codex_tasks"); n != tasks {
				t.Errorf("%d tasks, want %d", n, tasks)
			}
		})
	}
}

func TestBudgetAndUsage(t *testing.T) {
	t.Parallel()
	w := setup(t)
	id := w.submit(`{"prompt":"p","agent":{"command":["true"]},"budget":{"usd":0.25}}`, http.StatusCreated).TaskID.String()
	if task := w.get(id); task.Budget == nil || task.Budget.Tokens != nil || *task.Budget.Usd != 0.25 || task.Usage != (api.Usage{}) {
		t.Errorf("budget %+v, usage %+v", task.Budget, task.Usage)
	}
	w.exec(`INSERT INTO codex_task_events (task_id, sequence, event_id, event_type, attempt, content, occurred_at) VALUES
		($1, 1, 'a', 'usage', 1, '{"model":"m","inputTokens":100,"cachedInputTokens":60,"outputTokens":20,"reasoningTokens":5,"usd":0.5}', now()),
		($1, 2, 'b', 'progress', 1, '{"inputTokens":1000}', now()),
		($1, 3, 'c', 'usage', 2, '{"inputTokens":7,"outputTokens":"1","usd":-1}', now()),
		($1, 4, 'd', 'usage', 2, '"text"', now()), ($1, 5, 'e', 'usage', 2, NULL, now())`, id)
	want := api.Usage{Tokens: 127, InputTokens: 107, CachedInputTokens: 60, OutputTokens: 20, ReasoningTokens: 5, Usd: 0.5}
	if got := w.get(id).Usage; got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
	for _, budget := range []string{`{}`, `{"tokens":0}`, `{"tokens":1.5}`, `{"tokens":1000000000001}`, `{"usd":0}`, `{"usd":-1}`, `{"usd":"1"}`, `{"eur":1}`, `[]`} {
		w.call(http.MethodPost, "/v1/codex/tasks", `{"prompt":"p","agent":{"command":["true"]},"budget":`+budget+`}`,
			http.StatusUnprocessableEntity, nil)
	}
}
