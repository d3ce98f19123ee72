package api_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/problem"
)

// validator compiles the document once for all tests.
var validator = sync.OnceValues(api.NewValidator)

func setup(t testing.TB) *api.Validator {
	t.Helper()
	v, err := validator()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// post is a POST request with a body.
func post(t testing.TB, contentType, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return r
}

// pointers is "pointer detail" of each bad field.
func pointers(err error) []string {
	var texts []string
	for _, f := range problem.FieldErrors(err) {
		texts = append(texts, f.Pointer+f.Parameter+" "+f.Detail)
	}
	return texts
}

const agent = `"agent":{"command":["true"]}`

func TestDecodeBodyNamesEachBadField(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, operation, body string
		want                  []string
	}{
		{"missing", "submitTask", `{}`, []string{"/agent is required", "/prompt is required"}},
		{"several", "submitTask", `{"prompt":"","priority":12,"timeoutSeconds":9,"maxAttempts":"2","x":1,` + agent + `}`, []string{
			"/maxAttempts must be an integer", "/priority must be at most 9",
			"/prompt must be at least 1 characters long, is 0", "/timeoutSeconds must be at least 10", "/x is not a known field",
		}},
		{"not an object", "submitTask", `[]`, []string{" must be an object"}},
		{"null", "submitTask", `{"prompt":"a","tags":null,` + agent + `}`, []string{"/tags must be an array"}},
		{"case differs", "submitTask", `{"prompt":"a","Prompt":"b",` + agent + `}`, []string{"/Prompt is not a known field"}},
		{"a key twice", "submitTask", `{"prompt":"a","metadata":{"k/~":1,"k/~":2},` + agent + `}`, []string{"/metadata/k~1~0 must not occur twice in one object"}},
		{"NUL", "submitTask", `{"prompt":"a\u0000",` + agent + `}`, []string{"/prompt must not contain the character U+0000"}},
		{"NUL in a name", "submitTask", `{"prompt":"a","metadata":{"\u0000":1},` + agent + `}`, []string{"/metadata/\x00 must not contain the character U+0000"}},
		{"bytes, not characters", "submitTask", `{"prompt":"` + strings.Repeat("é", 32769) + `",` + agent + `}`, []string{"/prompt must be at most 65536 bytes in UTF-8, is 65538"}},
		{"characters, then not bytes", "submitTask", `{"prompt":"` + strings.Repeat("a", 65537) + `",` + agent + `}`, []string{"/prompt must be at most 65536 characters long, is 65537"}},
		{"fraction", "submitTask", `{"prompt":"a","priority":1.0,` + agent + `}`, []string{"/priority must be an integer without fraction or exponent"}},
		{"beyond a double", "submitTask", `{"prompt":"a","metadata":{"n":1e999},` + agent + `}`, []string{"/metadata/n must fit a double-precision number"}},
		{"a long number", "submitTask", `{"prompt":"a","metadata":{"n":[` + strings.Repeat("1", 65) + `]},` + agent + `}`, []string{"/metadata/n/0 must be written in at most 64 characters"}},
		{"deep", "submitTask", `{"metadata":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`, []string{"/metadata" + strings.Repeat("/0", 127) + " must not be nested more than 128 levels deep"}},
		{"in a list", "submitTask", `{"prompt":"a","targetResources":[{"apiVersion":"v1","kind":"Pod","name":"a"},{"apiVersion":"v1","kind":"pod","name":"../b"}],` + agent + `}`, []string{
			"/targetResources/1/kind must match the pattern ^[A-Z][A-Za-z0-9]*$",
			"/targetResources/1/name must match the pattern ^[A-Za-z0-9]([A-Za-z0-9.:_-]*[A-Za-z0-9])?$",
		}},
		{"twice in a list", "submitTask", `{"prompt":"a","tags":["a","b","a"],` + agent + `}`, []string{"/tags/2 is the same as item 0"}},
		{"no command", "submitTask", `{"prompt":"a","agent":{"command":[]}}`, []string{"/agent/command must have at least 1 items, has 0"}},
		{"another agent", "submitTask", `{"prompt":"a","agent":{"kind":"shell","command":["a"]}}`, []string{`/agent/kind must be one of "command", "codex", "claude"`}},
		{"name of a variable", "submitTask", `{"prompt":"a","agent":{"command":["a"],"env":{"A=B":"c"}}}`, []string{"/agent/env/A=B is not a known field"}},
		{"a manifest without a name", "submitTask", `{"prompt":"a","manifests":[{"apiVersion":"v1","kind":"Pod","metadata":{}}],` + agent + `}`, []string{"/manifests/0/metadata/name is required"}},
		{"manifests too large", "submitTask", `{"prompt":"a","manifests":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"data":"` + strings.Repeat("a", 1<<20) + `"}],` + agent + `}`, []string{"/manifests must be at most 1048576 bytes as JSON, is 1048644"}},
		{"metadata too large", "submitTask", `{"prompt":"a","metadata":{"a":"` + strings.Repeat(`\n`, 8<<10) + `"},` + agent + `}`, []string{"/metadata must be at most 16384 bytes as JSON, is 16392"}},
		{"a list too long, and what is in it", "submitTask", `{"prompt":1,"tags":[` + strings.Repeat("1,", 100000) + `1],` + agent + `}`, []string{"/tags must have at most 20 items, has 100001"}},
		{"an object too long", "submitTask", `{"prompt":"a","agent":{"command":["a"],"env":{` + many(65) + `}}}`, []string{"/agent/env must have at most 64 fields, has 65"}},
		{"neither text nor vector", "queryTaskMemory", `{}`, []string{"/text is required"}},
		{"both text and vector", "queryTaskMemory", `{"text":"a","vector":[1]}`, []string{"/text is not allowed together with the other fields"}},
		{"not a vector", "queryTaskMemory", `{"vector":[1,"2",1e31]}`, []string{"/vector/1 must be a number", "/vector/2 must be at most 1" + strings.Repeat("0", 30)}},
		{"limit", "queryTaskMemory", `{"text":"a","limit":0}`, []string{"/limit must be at least 1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var into struct{}
			err := setup(t).DecodeBody(post(t, "application/json", test.body), test.operation, api.MaxSubmissionBytes, &into)
			if got := pointers(err); !slices.Equal(got, test.want) {
				t.Errorf("fields:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
			if problem.Status(err) != http.StatusUnprocessableEntity {
				t.Errorf("status = %d, want 422", problem.Status(err))
			}
		})
	}
}

// many is n members of an object.
func many(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = `"V` + strings.Repeat("x", i) + `":""`
	}
	return strings.Join(members, ",")
}

func TestDecodeBodyRefusesWhatIsNotJSON(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body, want string
	}{
		{"empty", " \n", "The body is empty; send JSON."},
		{"cut off", "{\n  \"prompt\": ", "The body is not JSON: unexpected end of JSON input at line 2, column 13."},
		{"a stray character", "{\n  \"é\": nope}", "The body is not JSON: invalid character 'o' in literal null (expecting 'u') at line 2, column 9."},
		{"more after it", "{} {}", "The body is not JSON: invalid character '{' after top-level value at line 1, column 4."},
		{"a comma too many", `{"a":[1,]}`, "The body is not JSON: invalid character ']' looking for beginning of value at line 1, column 9."},
		{"invalid UTF-8", "{\"é\": \"\xff\"}", "The body is not JSON: invalid UTF-8 at line 1, column 8."},
		{"half a pair", `{"a": "\\\ud83d\ude00 \ud800"}`, "The body is not JSON: half of a surrogate pair at line 1, column 23."},
		{"the other half", `{"a": "\udc00"}`, "The body is not JSON: half of a surrogate pair at line 1, column 8."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var into api.TaskSubmission
			err := setup(t).DecodeBody(post(t, "application/json", test.body), "submitTask", 1000, &into)
			if got := problem.Of(err); got.Detail != test.want || got.Status != http.StatusBadRequest {
				t.Errorf("answer = %d %s\nwant 400 %s", got.Status, got.Detail, test.want)
			}
		})
	}
}

func TestDecodeBodyReadsAll(t *testing.T) {
	t.Parallel()
	body := `{"prompt":"\ud83d\ude00","priority":0,"agent":{"command":["a"],"env":{"A":"b"}},"metadata":{"n":12345678901234567890},
		"manifests":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"n":12345678901234567890}]}`
	var got api.TaskSubmission
	err := setup(t).DecodeBody(post(t, "application/json; charset=UTF-8", body), "submitTask", 1000, &got)
	if err != nil {
		t.Fatal(err)
	}
	if got.Prompt != "😀" || got.Priority == nil || *got.Priority != 0 || got.MaxAttempts != nil || got.Agent.Env["A"] != "b" {
		t.Errorf("submission = %+v", got)
	}
	if want := `"n":12345678901234567890`; !strings.Contains(string(got.Manifests[0]), want) {
		t.Errorf("manifest = %s, want it as it came, with %s", got.Manifests[0], want)
	}
}

func TestDecodeBodyBoundsAndMediaTypes(t *testing.T) {
	t.Parallel()
	chunked := post(t, "application/json", `{"reason":"0123456789"}`)
	chunked.ContentLength = -1
	zipped := post(t, "application/json", `{}`)
	zipped.Header.Set("Content-Encoding", "gzip")
	tests := []struct {
		name   string
		r      *http.Request
		status int
	}{
		{"announced too large", post(t, "application/json", `{"reason":"0123456789"}`), 413},
		{"found too large", chunked, 413},
		{"as large as may be", post(t, "application/json", `{"reason":"012"}`), 200},
		{"form", post(t, "application/x-www-form-urlencoded", `{}`), 415},
		{"no type", post(t, "", `{}`), 415},
		{"Latin-1", post(t, "application/json; charset=latin1", `{}`), 415},
		{"compressed", zipped, 415},
		{"left out", post(t, "", ``), 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var into api.TaskCancellation
			err := setup(t).DecodeBody(test.r, "cancelTask", 16, &into)
			if got := problem.DeliveryStatus(err); got != test.status {
				t.Errorf("status = %d (%v), want %d", got, err, test.status)
			}
		})
	}
}

func TestDecodeEvents(t *testing.T) {
	t.Parallel()
	const one = `{"eventId":"a","eventType":"log","content":"x"}`
	tests := []struct {
		name, media, body string
		events            int
		want              []string
	}{
		{"one", "application/json", one, 1, nil},
		{"an array", "application/json", " [" + one + "," + one + "]", 2, nil},
		{"lines", "application/x-ndjson", one + "\r\n\n" + one, 2, nil},
		{"a hundred", "application/x-ndjson", strings.Repeat(one+"\n", 100), 100, nil},
		{"a hundred and one lines", "application/x-ndjson", strings.Repeat(one+"\n", 101), 0, []string{" must have at most 100 events"}},
		{"a hundred and one items", "application/json", "[" + strings.Repeat(one+",", 100) + one + "]", 0, []string{" must have at most 100 items, has 101"}},
		{"no items", "application/json", "[]", 0, []string{" must have at least 1 items, has 0"}},
		{"a bad item", "application/json", "[" + one + `,{"eventId":"a","eventType":"x"}]`, 0, []string{
			`/1/eventType must be one of "started", "progress", "log", "artifact", "snapshot", "usage", "heartbeat", "completed", "failed"`,
		}},
		{"bad lines", "application/x-ndjson", one + "\n" + `{"eventType":"log"}` + "\n7", 0, []string{"/1/eventId is required", "/2 must be an object"}},
		{"a number as content", "application/json", `{"eventId":"a","eventType":"log","content":1}`, 0, []string{"/content must be a string or an object"}},
		{"an artifact event without any", "application/json", `{"eventId":"a","eventType":"artifact"}`, 0, []string{"/artifacts is required"}},
		{"a snapshot event without one", "application/json", `{"eventId":"a","eventType":"snapshot"}`, 0, []string{"/snapshot is required"}},
		{"a snapshot of nothing", "application/json", `{"eventId":"a","eventType":"snapshot","snapshot":{"type":"after"}}`, 0, []string{"/snapshot/manifests is required"}},
		{"a leap second", "application/json", `{"eventId":"a","eventType":"log","occurredAt":"2016-12-31T23:59:60Z"}`, 0, []string{"/occurredAt must be an RFC 3339 time, such as 2026-01-05T10:00:00Z"}},
	}
	for _, name := range []string{"../x", "a/../b", "/etc/passwd", "..", "a//b", `a\b`, "a/", ".hidden", "a\nb", ""} {
		quoted := strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(name)
		want := []string{"/artifacts/0/name must match the pattern ^[A-Za-z0-9_][A-Za-z0-9._-]*$"}
		if name == "" {
			want = append([]string{"/artifacts/0/name must be at least 1 characters long, is 0"}, want...)
		}
		tests = append(tests, struct {
			name, media, body string
			events            int
			want              []string
		}{"name " + quoted, "application/json", `{"eventId":"a","eventType":"artifact","artifacts":[{"name":"` + quoted +
			`","contentType":"text/plain","sizeBytes":1,"sha256":"` + strings.Repeat("a", 64) + `"}]}`, 0, want})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			events, err := setup(t).DecodeEvents(post(t, test.media, test.body), api.MaxEventsBytes)
			if got := pointers(err); !slices.Equal(got, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("%v; fields:\n%s\nwant:\n%s", err, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
			if err == nil && len(events) != test.events {
				t.Errorf("%d events, want %d", len(events), test.events)
			}
		})
	}
}

func TestDecodeEventsRefusesWhatIsNotJSON(t *testing.T) {
	t.Parallel()
	tests := []struct{ media, body, want string }{
		{"application/x-ndjson", "\n{\"eventId\":\"a\",\"eventType\":\"log\"}\n{]", "The body is not JSON: invalid character ']' looking for beginning of object key string at line 3, column 2."},
		{"application/x-ndjson", "{\"eventId\":\"a\",\"eventType\":\"log\"}\n{\"eventId\":\r\n{\"eventId\":\"a\",\"eventType\":\"log\"}\n", "The body is not JSON: unexpected end of JSON input at line 2, column 12."},
		{"application/x-ndjson", "\n\n", "The body is empty; send one event a line."},
		{"application/json", "", "The body is empty; send JSON."},
		{"text/plain", "{}", "Content-Type must be application/json or application/x-ndjson, in UTF-8."},
	}
	for _, test := range tests {
		_, err := setup(t).DecodeEvents(post(t, test.media, test.body), 1000)
		if got := problem.Of(err).Detail; got != test.want {
			t.Errorf("%q: detail = %q, want %q", test.body, got, test.want)
		}
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	v := setup(t)
	get := func(t *testing.T, operation, target string, into any) error {
		t.Helper()
		var err error
		mux := http.NewServeMux()
		mux.HandleFunc(v.Pattern(operation), func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("last") != "" {
				r.Header.Set("Last-Event-ID", r.URL.Query().Get("last"))
				r.URL.RawQuery = ""
			}
			err = v.Parameters(r, operation, into)
		})
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
		if w.Code != http.StatusOK {
			t.Fatalf("%s: not routed, status %d", target, w.Code)
		}
		return err
	}
	const list, id = "/v1/codex/tasks", "/v1/codex/tasks/01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d"
	bad := []struct {
		operation, target string
		want              []string
	}{
		{"listTasks", list + "?limit=0", []string{"limit must be at least 1"}},
		{"listTasks", list + "?limit=201&cursor=%2B&x=1", []string{"x is not known; known are cursor, limit, status, tag", "limit must be at most 200", "cursor must match the pattern ^[A-Za-z0-9_-]+$"}},
		{"listTasks", list + "?limit=ten", []string{"limit must be an integer"}},
		{"listTasks", list + "?limit=1e1", []string{"limit must be an integer without fraction or exponent"}},
		{"listTasks", list + "?limit=1&limit=2", []string{"limit must be given once"}},
		{"listTasks", list + "?status=queued&status=lost", []string{`status must be one of "awaiting_approval", "queued", "launching", "running", "finalizing", "succeeded", "failed", "cancelled", "timed_out"`}},
		{"listTasks", list + "?tag=" + strings.Repeat("a&tag=", 20) + "a", []string{"tag must have at most 20 items, has 21"}},
		{"getTask", list + "/7", []string{"taskId must be a UUID, such as 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d"}},
		{"getTask", list + "/urn:uuid:01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d", []string{"taskId must be a UUID, such as 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d"}},
		{"getTask", id + "?verbose=1", []string{"verbose is not known; this operation takes no query parameters"}},
		{"listTaskMemory", id + "/memory?includeOwn=yes&namespace=..", []string{"namespace must match the pattern ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "includeOwn must be a boolean"}},
		{"listTaskEvents", id + "/events?last=x", []string{"Last-Event-ID must be an integer"}},
	}
	for _, test := range bad {
		t.Run(test.target, func(t *testing.T) {
			t.Parallel()
			err := get(t, test.operation, test.target, nil)
			if got := pointers(err); !slices.Equal(got, test.want) || problem.Status(err) != http.StatusBadRequest {
				t.Errorf("%d %q\nwant 400 %q", problem.Status(err), got, test.want)
			}
		})
	}

	var tasks api.ListTasksParams
	if err := get(t, "listTasks", list+"?status=queued&status=running&tag=a&limit=&cursor=", &tasks); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tasks.Status, []api.TaskStatus{"queued", "running"}) || !slices.Equal(tasks.Tag, []string{"a"}) || tasks.Limit != 50 || tasks.Cursor != "" {
		t.Errorf("parameters = %+v", tasks)
	}
	var memory api.ListTaskMemoryParams
	if err := get(t, "listTaskMemory", id+"/memory?includeOwn=true&limit=100", &memory); err != nil {
		t.Fatal(err)
	}
	if !memory.IncludeOwn || memory.Limit != 100 {
		t.Errorf("parameters = %+v", memory)
	}
	var events api.ListTaskEventsParams
	if err := get(t, "listTaskEvents", id+"/events?last=42", &events); err != nil {
		t.Fatal(err)
	}
	if events.LastEventID != 42 || events.Limit != 100 {
		t.Errorf("parameters = %+v", events)
	}
}
