package memory_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	graf "github.com/graf-run/graf/functions/memory"
	"github.com/graf-run/graf/shared/tasktest"
)

func TestMemoryTokens(t *testing.T) {
	t.Parallel()
	w := setup(t)
	task := tasktest.Queued(t, w.db, tasktest.Task{Prompt: prompt}).ID
	ended := tasktest.Queued(t, w.db, tasktest.Task{Prompt: prompt}).ID
	tests := []struct {
		name, token string
		task        uuid.UUID
		status      int
	}{
		{"an API token", apiToken, task, 200},
		{"the task's own", w.token(task), task, 200},
		{"another task's", w.token(task), ended, 403},
		{"none", "", task, 401},
		{"unknown", "no-such-token", task, 401},
		{"an unknown task token", "graf_task_" + strings.Repeat("A", 43), task, 401},
		{"expired", w.token(ended), ended, 401},
		{"expired, for another task", w.token(ended), task, 401},
		{"an API token for no task", apiToken, uuid.Must(uuid.NewV7()), 404},
		{"a task token for no task", w.token(task), uuid.Must(uuid.NewV7()), 403},
	}
	tasktest.Exec(t, w.db, "UPDATE codex_tasks SET status = 'cancelled', updated_by = 'test' WHERE id = $1", ended)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, call := range []struct{ method, path, body string }{
				{http.MethodGet, "/memory", ""}, {http.MethodPost, "/memory/query", `{"text":"x"}`},
			} {
				res, data := w.request(call.method, test.task.String()+call.path, test.token, call.body)
				if res.StatusCode != test.status {
					t.Errorf("%s: status %d, want %d: %s", call.method, res.StatusCode, test.status, data)
				}
				if test.token != "" && strings.Contains(string(data), test.token) {
					t.Errorf("the answer shows the token: %s", data)
				}
			}
		})
	}
}

func TestMemoryBadInput(t *testing.T) {
	t.Parallel()
	w := setup(t)
	task := tasktest.Queued(t, w.db, tasktest.Task{Prompt: prompt}).ID.String()
	tests := []struct {
		name, method, path, body string
		status                   int
		// at is the pointer or parameter of each error; nil is not looked at.
		at []string
	}{
		{"no id", "GET", "x/memory", "", 400, []string{"taskId"}},
		{"limit 0", "GET", task + "/memory?limit=0", "", 400, []string{"limit"}},
		{"limit 101", "GET", task + "/memory?limit=101", "", 400, []string{"limit"}},
		{"limit no number", "GET", task + "/memory?limit=ten", "", 400, []string{"limit"}},
		{"bad namespace", "GET", task + "/memory?namespace=A_B", "", 400, []string{"namespace"}},
		{"bad kind", "GET", task + "/memory?resourceKind=pod", "", 400, []string{"resourceKind"}},
		{"bad includeOwn", "GET", task + "/memory?includeOwn=maybe", "", 400, []string{"includeOwn"}},
		{"unknown parameter", "GET", task + "/memory?kind=event", "", 400, []string{"kind"}},
		{"malformed JSON", "POST", task + "/memory/query", `{"text":`, 400, nil},
		{"invalid UTF-8", "POST", task + "/memory/query", "{\"text\":\"\xff\"}", 400, nil},
		{"U+0000", "POST", task + "/memory/query", `{"text":"\u0000"}`, 422, []string{"/text"}},
		{"neither", "POST", task + "/memory/query", `{}`, 422, nil},
		{"both", "POST", task + "/memory/query", `{"text":"x","vector":[1,0,0]}`, 422, []string{"/text"}},
		{"empty text", "POST", task + "/memory/query", `{"text":""}`, 422, []string{"/text"}},
		{"text too long", "POST", task + "/memory/query", `{"text":"` + strings.Repeat("x", 65537) + `"}`, 422, []string{"/text"}},
		{"unknown field", "POST", task + "/memory/query", `{"text":"x","kinds":[]}`, 422, []string{"/kinds"}},
		{"wrong types", "POST", task + "/memory/query", `{"text":1,"limit":"1"}`, 422, []string{"/limit", "/text"}},
		{"limit out of range", "POST", task + "/memory/query", `{"text":"x","limit":101}`, 422, []string{"/limit"}},
		{"a tag twice", "POST", task + "/memory/query", `{"text":"x","tags":["a","a"]}`, 422, []string{"/tags/1"}},
		{"wrong dimension", "POST", task + "/memory/query", `{"vector":[1,2]}`, 422, []string{"/vector"}},
		{"zero vector", "POST", task + "/memory/query", `{"vector":[0,0,0]}`, 422, []string{"/vector"}},
		{"a number too large", "POST", task + "/memory/query", `{"vector":[1e31,0,0]}`, 422, []string{"/vector/0"}},
		{"oversize body", "POST", task + "/memory/query", `{"text":"` + strings.Repeat("x", 1<<20) + `"}`, 413, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			res, data := w.request(test.method, test.path, apiToken, test.body)
			p := problemOf(t, data)
			if res.StatusCode != test.status || p.Detail == "" {
				t.Fatalf("status %d, want %d: %s", res.StatusCode, test.status, data)
			}
			var at []string
			for _, e := range p.Errors {
				at = append(at, e.Pointer+e.Parameter)
			}
			slices.Sort(at)
			if test.at != nil && !slices.Equal(slices.Compact(at), test.at) {
				t.Errorf("errors %+v, want at %q", p.Errors, test.at)
			}
		})
	}
}

func TestMemoryRateLimit(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_RATE_LIMIT_PER_SECOND", "0.01", "GRAF_RATE_LIMIT_BURST", "1")
	task := tasktest.Queued(t, w.db, tasktest.Task{Prompt: prompt}).ID
	for _, token := range []string{apiToken, w.token(task)} {
		for _, want := range []int{200, 429} {
			res, data := w.request(http.MethodGet, task.String()+"/memory", token, "")
			if res.StatusCode != want || (want == 429) != (res.Header.Get("Retry-After") != "") {
				t.Errorf("status %d, want %d: %s", res.StatusCode, want, data)
			}
		}
	}
}

func TestMemorySwitchedOff(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_CODEX_MEMORY_ENABLED", "false")
	res, data := w.request(http.MethodGet, uuid.Must(uuid.NewV7()).String()+"/memory", apiToken, "")
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(problemOf(t, data).Detail, "GRAF_CODEX_MEMORY_ENABLED") {
		t.Errorf("status %d: %s", res.StatusCode, data)
	}
}

func TestMemoryDatabaseAway(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_DATABASE_URL", "postgres://nobody@127.0.0.1:1/none?connect_timeout=1")
	id := uuid.Must(uuid.NewV7()).String()
	for _, token := range []string{apiToken, "graf_task_" + strings.Repeat("A", 43)} {
		res, data := w.request(http.MethodGet, id+"/memory", token, "")
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			t.Errorf("status %d: %s", res.StatusCode, data)
		}
	}
}

func TestMemoryConfig(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, variable, value, want string }{
		{"no tokens", "GRAF_API_BEARER_TOKENS", "", "GRAF_API_BEARER_TOKENS"},
		{"no wait", "GRAF_MEMORY_EMBEDDING_WAIT", "0s", "GRAF_MEMORY_EMBEDDING_WAIT"},
		{"no callback", "GRAF_CALLBACK_BASE_URL", "", "GRAF_CALLBACK_BASE_URL"},
		{"a callback without a host", "GRAF_CALLBACK_BASE_URL", "graf-callback", "GRAF_CALLBACK_BASE_URL"},
		{"too long a wait", "GRAF_MEMORY_EMBEDDING_WAIT", "1h", "GRAF_MEMORY_EMBEDDING_WAIT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			environment := map[string]string{
				"GRAF_DATABASE_URL": "postgres://127.0.0.1:1/none", "GRAF_REDIS_URL": "redis://127.0.0.1:1",
				"GRAF_API_BEARER_TOKENS": "ci=" + apiToken, "GRAF_CALLBACK_BASE_URL": "http://127.0.0.1:1",
			}
			environment[test.variable] = test.value
			err := graf.New().Start(context.Background(), environment)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one about %s", err, test.want)
			}
		})
	}
}

// FuzzMemoryFilters holds every answer to the OpenAPI document; a body is
// either searched for or the client's mistake.
func FuzzMemoryFilters(f *testing.F) {
	w := setup(f)
	task := tasktest.Queued(f, w.db, tasktest.Task{Prompt: prompt}).ID.String()
	f.Add("web", "Deployment", "10", `{"text":"replicas' | ! & <->","tags":["a"]}`)
	f.Add("", "", "-1", `{"vector":[1,0,0],"limit":1e2,"namespace":"a"}`)
	f.Add("é\x00", "Pod'; --", "1e1", `[{"text":"\ud800"}]`)
	f.Fuzz(func(t *testing.T, namespace, kind, limit, body string) {
		fuzzed := &world{t: t, url: w.url, db: w.db}
		calls := []struct{ method, path, body string }{
			{http.MethodGet, fmt.Sprintf("%s/memory?namespace=%s&resourceKind=%s&limit=%s", task,
				url.QueryEscape(namespace), url.QueryEscape(kind), url.QueryEscape(limit)), ""},
			{http.MethodPost, task + "/memory/query", body},
		}
		for _, call := range calls {
			res, data := fuzzed.request(call.method, call.path, apiToken, call.body)
			if res.StatusCode >= 500 || !json.Valid(data) {
				t.Errorf("status %d: %s", res.StatusCode, data)
			}
		}
	})
}
