package callback_test

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/problem"
)

func TestBadReports(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_ARTIFACT_MAX_BYTES", "1000")
	k := w.running()
	artifact := func(name string, size int, digest string) string {
		return fmt.Sprintf(`{"eventId":"a","eventType":"artifact","artifacts":[{"name":%q,"contentType":"text/plain","sizeBytes":%d,"sha256":%q}]}`, name, size, digest)
	}
	snapshot := func(report string) string {
		return `[` + event("x", "fine") + `,{"eventId":"a","eventType":"snapshot","snapshot":` + report + `}]`
	}
	const configMap = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"n"}}`
	tests := []struct {
		name, body string
		kind       *problem.Kind
		pointer    string
		detail     string // in the field's, or in the problem's
	}{
		{"empty", " ", problem.ErrBadRequest, "", "empty"},
		{"malformed", `{"eventId":"a"`, problem.ErrBadRequest, "", "line 1, column 15"},
		{"invalid UTF-8", "{\"eventId\":\"a\",\"eventType\":\"log\",\"content\":\"\xff\"}", problem.ErrBadRequest, "", "UTF-8"},
		{"two values", `{} {}`, problem.ErrBadRequest, "", "not JSON"},
		{"text", `"hello"`, problem.ErrInvalid, "", "object"},
		{"no events", `[]`, problem.ErrInvalid, "", "at least 1"},
		{"too many", "[" + strings.Repeat(event("a", "x")+",", 100) + event("a", "x") + "]", problem.ErrInvalid, "", "at most 100"},
		{"oversize", `{"eventId":"a","eventType":"log","content":"` + strings.Repeat("x", api.MaxEventsBytes) + `"}`, problem.ErrTooLarge, "", "1048576"},
		{"large content", `{"eventId":"a","eventType":"log","content":"` + strings.Repeat("x", 256<<10) + `"}`, problem.ErrInvalid, "/content", "262144"},
		{"unknown field", `{"eventId":"a","eventType":"log","level":"info"}`, problem.ErrInvalid, "/level", "not a known field"},
		{"wrong type", `{"eventId":7,"eventType":"log"}`, problem.ErrInvalid, "/eventId", "string"},
		{"content is a list", `{"eventId":"a","eventType":"log","content":[]}`, problem.ErrInvalid, "/content", "object"},
		{"unknown type of event", `[` + event("x", "x") + `,{"eventId":"a","eventType":"done"}]`, problem.ErrInvalid, "/1/eventType", "completed"},
		{"Graf's own type of event", `{"eventId":"a","eventType":"resource","content":{}}`, problem.ErrInvalid, "/eventType", "must be one of"},
		{"no id", `{"eventType":"log"}`, problem.ErrInvalid, "/eventId", "required"},
		{"time", `{"eventId":"a","eventType":"log","occurredAt":"yesterday"}`, problem.ErrInvalid, "/occurredAt", "RFC 3339"},
		{"NUL", `{"eventId":"a","eventType":"log","content":"\u0000"}`, problem.ErrInvalid, "/content", "U+0000"},
		{"usage in words", `{"eventId":"a","eventType":"usage","content":"much"}`, problem.ErrInvalid, "/content", "object"},
		{"negative usage", `{"eventId":"a","eventType":"usage","content":{"inputTokens":-1}}`, problem.ErrInvalid, "/content/inputTokens", "at least 0"},
		{"half a token", `{"eventId":"a","eventType":"usage","content":{"outputTokens":1.5}}`, problem.ErrInvalid, "/content/outputTokens", "integer"},
		{"endless usage", `{"eventId":"a","eventType":"usage","content":{"usd":1e300}}`, problem.ErrInvalid, "/content/usd", "at most"},
		{"failure of no class", `{"eventId":"a","eventType":"failed","content":{"failure":{}}}`, problem.ErrInvalid, "/content/failure/class", "required"},
		{"failure that Graf alone tells", `{"eventId":"a","eventType":"failed","content":{"failure":{"class":"cancelled"}}}`, problem.ErrInvalid, "/content/failure/class", "quota"},
		{"endless wait", `{"eventId":"a","eventType":"failed","content":{"failure":{"class":"quota","retryAfterSeconds":86401}}}`, problem.ErrInvalid, "/content/failure/retryAfterSeconds", "at most 86400"},
		{"artifact without a file", `{"eventId":"a","eventType":"artifact"}`, problem.ErrInvalid, "/artifacts", "required"},
		{"heartbeat with a file", strings.Replace(artifact("a", 1, helloSHA256), `"eventType":"artifact"`, `"eventType":"heartbeat"`, 1), problem.ErrInvalid, "/artifacts", "not allowed"},
		{"heartbeat with a snapshot", `[` + event("x", "x") + `,{"eventId":"a","eventType":"heartbeat","snapshot":{"type":"after","manifests":[` + configMap + `]}}]`, problem.ErrInvalid, "/1/snapshot", "not allowed"},
		{"path traversal", artifact("../../etc/passwd", 1, helloSHA256), problem.ErrInvalid, "/artifacts/0/name", ""},
		{"absolute path", artifact("/etc/passwd", 1, helloSHA256), problem.ErrInvalid, "/artifacts/0/name", ""},
		{"folder", artifact("a/b.txt", 1, helloSHA256), problem.ErrInvalid, "/artifacts/0/name", ""},
		{"digest", artifact("a", 1, "abc"), problem.ErrInvalid, "/artifacts/0/sha256", "64"},
		{"too large a file", artifact("a", 1001, helloSHA256), problem.ErrInvalid, "/artifacts/0/sizeBytes", "at most 1000"},
		{"negative size", artifact("a", -1, helloSHA256), problem.ErrInvalid, "/artifacts/0/sizeBytes", "at least 0"},
		{"snapshot of nothing", snapshot(`{"type":"after"}`), problem.ErrInvalid, "/1/snapshot/manifests", "required"},
		{"snapshot of a wrong type", snapshot(`{"type":"during","manifests":[]}`), problem.ErrInvalid, "/1/snapshot/type", "after"},
		{"manifest without a name", snapshot(`{"type":"after","manifests":[` + configMap + `,{"apiVersion":"v1","kind":"X","metadata":{}}]}`), problem.ErrInvalid, "/1/snapshot/manifests/1/metadata/name", "required"},
		{"manifest with a bad name", snapshot(`{"type":"after","manifests":[{"apiVersion":"v1","kind":"X","metadata":{"name":"a b"}}]}`), problem.ErrInvalid, "/1/snapshot/manifests/0", "spaces"},
		{"manifest twice", snapshot(`{"type":"after","manifests":[` + configMap + `,` + configMap + `]}`), problem.ErrInvalid, "/1/snapshot/manifests", "ConfigMap n/a"},
		{"large diff", `{"eventId":"a","eventType":"snapshot","snapshot":{"type":"after","diff":"` + strings.Repeat("+x\\n", 100_000) + `"}}`, problem.ErrInvalid, "/snapshot/diff", "262144"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, data := w.request(http.MethodPost, k.path(), k.token, test.body)
			p := wantProblem(t, status, data, test.kind)
			said := p.Detail
			if test.kind == problem.ErrInvalid {
				if len(p.Errors) == 0 || p.Errors[0].Pointer != test.pointer {
					t.Fatalf("pointers to %+v, want %q", p.Errors, test.pointer)
				}
				said = p.Errors[0].Detail
			}
			if !strings.Contains(said, test.detail) {
				t.Errorf("it says %q, want %q in it", said, test.detail)
			}
		})
	}
	if n := one[int](w, "SELECT count(*) FROM codex_task_events"); n != 0 {
		t.Errorf("%d events of reports that were refused are stored", n)
	}
}

func TestMediaTypesAndMethods(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	status, data := w.request(http.MethodPost, k.path(), k.token, "eventId: a", "Content-Type", "application/yaml")
	wantProblem(t, status, data, problem.ErrUnsupportedMediaType)
	status, data = w.request(http.MethodPost, k.path(), k.token, event("a", "x")+"\n{", "Content-Type", "application/x-ndjson")
	if p := wantProblem(t, status, data, problem.ErrBadRequest); !strings.Contains(p.Detail, "at line 2") {
		t.Errorf("detail %q", p.Detail)
	}
	res := w.do(http.MethodDelete, k.path(), k.token, "")
	_ = res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("DELETE: status %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
	}
	res = w.do(http.MethodGet, "/v1/codex", k.token, "")
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("another path: status %d", res.StatusCode)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k, other := w.running(), w.running()
	unknown, _ := auth.NewTaskToken()
	nobody := task{id: uuid.Must(uuid.NewV7())}
	const post, get = http.MethodPost, http.MethodGet
	for _, test := range []struct {
		name, method, path, token string
		want                      *problem.Kind
	}{
		{"post without a token", post, k.path(), "", problem.ErrUnauthenticated},
		{"post with an unknown token", post, k.path(), unknown, problem.ErrUnauthenticated},
		{"post with a foreign token", post, k.path(), "something-else", problem.ErrUnauthenticated},
		{"post with an API token", post, k.path(), apiToken, problem.ErrForbidden},
		{"post with another task's token", post, k.path(), other.token, problem.ErrForbidden},
		{"post to an unknown task", post, nobody.path(), k.token, problem.ErrForbidden},
		{"post to what is no id", post, "/v1/codex/tasks/7/events", k.token, problem.ErrBadRequest},
		{"get without a token", get, k.path(), "", problem.ErrUnauthenticated},
		{"get with the task's token", get, k.path(), k.token, problem.ErrForbidden},
		{"get of an unknown task", get, nobody.path(), apiToken, problem.ErrNotFound},
		{"get of what is no id", get, "/v1/codex/tasks/7/events", apiToken, problem.ErrBadRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := ""
			if test.method == post {
				body = event("a", "x")
			}
			status, data := w.request(test.method, test.path, test.token, body)
			wantProblem(t, status, data, test.want)
		})
	}
}

func TestEndedTask(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	artifact := `{"eventId":"b","eventType":"artifact","artifacts":[{"name":"a","contentType":"text/plain","sizeBytes":5,"sha256":"` + helloSHA256 + `"}]}`
	known := "[" + event("a", "x") + "," + artifact + "]"
	first := w.post(k, known)
	w.exec("UPDATE codex_task_artifacts SET status = 'rejected', status_reason = 'test'")
	w.move(k, "finalizing")
	w.post(k, event("last", "x"))
	w.move(k, "timed_out")
	for _, body := range []string{event("new", "x"), "[" + event("a", "x") + "," + event("new", "x") + "]"} {
		status, data := w.request(http.MethodPost, k.path(), k.token, body)
		if p := wantProblem(t, status, data, problem.ErrConflict); !strings.Contains(p.Detail, "ended as timed_out") {
			t.Errorf("detail %q", p.Detail)
		}
	}
	again := w.post(k, known)
	if !reflect.DeepEqual(again.Events, first.Events) || len(again.Uploads) != 0 {
		t.Errorf("answered %+v, then %+v", first, again)
	}
	if n := one[int](w, "SELECT last_event_sequence FROM codex_tasks"); n != 3 {
		t.Errorf("the last sequence number is %d", n)
	}
}

func TestSwitchedOff(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_CODEX_TASKS_ENABLED", "false")
	k := w.running()
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		status, data := w.request(method, k.path(), k.token, event("a", "x"))
		if p := wantProblem(t, status, data, problem.ErrUnavailable); !strings.Contains(p.Detail, "GRAF_CODEX_TASKS_ENABLED") {
			t.Errorf("detail %q", p.Detail)
		}
	}
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_RATE_LIMIT_PER_SECOND", "0.001", "GRAF_RATE_LIMIT_BURST", "1")
	k, other := w.running(), w.running()
	w.page(k, "")
	status, data := w.request(http.MethodGet, k.path(), apiToken, "")
	wantProblem(t, status, data, problem.ErrRateLimited)
	w.post(k, event("a", "x"))
	status, data = w.request(http.MethodPost, k.path(), k.token, event("b", "x"))
	wantProblem(t, status, data, problem.ErrRateLimited)
	w.post(other, event("a", "x"))
}

func TestRedisIsAway(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_REDIS_URL", "redis://127.0.0.1:1")
	k := w.running()
	w.post(k, event("a", "x"))
	if got := w.page(k, "").Events; len(got) != 1 {
		t.Errorf("events %+v", got)
	}
}

func TestDatabaseIsAway(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_DATABASE_URL", "postgres://graf@127.0.0.1:1/graf")
	k := w.running()
	for method, token := range map[string]string{http.MethodPost: k.token, http.MethodGet: apiToken} {
		status, data := w.request(method, k.path(), token, event("a", "x"))
		wantProblem(t, status, data, problem.ErrUnavailable)
	}
}
