package submit_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/apitest"
	"github.com/graf-run/graf/shared/postgrestest"
)

// with is the minimal submission with a field more.
func with(field string) string { return strings.Replace(minimal, "{", "{"+field+",", 1) }

func TestSubmitBadInput(t *testing.T) {
	t.Parallel()
	w := setup(t)
	manifest := func(more string) string {
		return with(`"manifests":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}` + more + `]`)
	}
	tests := []struct {
		name, body string
		status     int
		pointers   []string
	}{
		{"malformed JSON", `{"prompt":`, 400, nil},
		{"two values", minimal + minimal, 400, nil},
		{"a key twice", with(`"prompt":"p"`), 422, []string{"/prompt"}},
		{"invalid UTF-8", "{\"prompt\":\"\xff\",\"agent\":{\"command\":[\"true\"]}}", 400, nil},
		{"U+0000", `{"prompt":"\u0000","agent":{"command":["true"]}}`, 422, []string{"/prompt"}},
		{"a lone surrogate", `{"prompt":"\ud800","agent":{"command":["true"]}}`, 400, nil},
		{"nested too deep", with(`"metadata":{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`), 422, nil},
		{"a number too large", with(`"metadata":{"a":1e999}`), 422, []string{"/metadata/a"}},
		{"oversize body", with(`"metadata":{"a":"` + strings.Repeat("x", 2<<20) + `"}`), 413, nil},
		{"not an object", `[]`, 422, []string{""}},
		{"nothing", `{}`, 422, []string{"/agent", "/prompt"}},
		{"an unknown field", with(`"model":"o9"`), 422, []string{"/model"}},
		{"wrong types", `{"prompt":1,"agent":{"command":"true"},"priority":"9"}`, 422, []string{"/agent/command", "/priority", "/prompt"}},
		{"an empty prompt", `{"prompt":"","agent":{"command":["true"]}}`, 422, []string{"/prompt"}},
		{"a prompt too long in bytes", `{"prompt":"` + strings.Repeat("é", 32769) + `","agent":{"command":["true"]}}`, 422, []string{"/prompt"}},
		{"no command", `{"prompt":"p","agent":{"command":[]}}`, 422, []string{"/agent/command"}},
		{"another kind of agent", `{"prompt":"p","agent":{"kind":"model","command":["true"]}}`, 422, []string{"/agent/kind"}},
		{"a bad name in env", `{"prompt":"p","agent":{"command":["true"],"env":{"A=B":"c"}}}`, 422, []string{"/agent/env/A=B"}},
		{"an empty program", `{"prompt":"p","agent":{"command":[""]}}`, 422, []string{"/agent/command/0"}},
		{"names of the contract in env", `{"prompt":"p","agent":{"command":["true"],"env":{"GRAF_LOG_LEVEL":"debug","TRACEPARENT":"x","A":"b"}}}`, 422, []string{"/agent/env/GRAF_LOG_LEVEL", "/agent/env/TRACEPARENT"}},
		{"a command for codex", `{"prompt":"p","agent":{"kind":"codex","command":["true"]}}`, 422, []string{"/agent/command"}},
		{"codex's fields for a command", `{"prompt":"p","agent":{"command":["true"],"arguments":["-v"],"model":"m"}}`, 422, []string{"/agent/arguments", "/agent/model"}},
		{"no program", `{"prompt":"p","agent":{}}`, 422, []string{"/agent/command"}},
		{"a variable twice", `{"prompt":"p","agent":{"command":["true"],"env":{"A":"b"},"secretEnv":{"A":{"name":"graf-agent","key":"A"},"GRAF_X":{"name":"graf-agent","key":"A"}}}}`, 422, []string{"/agent/secretEnv/A", "/agent/secretEnv/GRAF_X"}},
		{"another Secret's key", `{"prompt":"p","agent":{"command":["true"],"secretEnv":{"A":{"name":"graf-database","key":"url"}}}}`, 403, []string{"/agent"}},
		{"a repository with a password", `{"prompt":"p","agent":{"command":["true"],"repository":{"url":"https://me:x@example.com/r.git"}}}`, 422, []string{"/agent/repository/url"}},
		{"an agent too large", `{"prompt":"p","agent":{"command":["true"],"env":{` + variables(33, 32768) + `}}}`, 422, []string{"/agent"}},
		{"manifests too large as YAML", with(`"manifests":[{"apiVersion":"v1","kind":"A","metadata":{"name":"a"},"l":` + strings.Repeat(`{"a":`, 10) + `"` + strings.Repeat(`a\n`, 100_000) + `"` + strings.Repeat("}", 10) + `}]`), 422, []string{"/manifests"}},
		{"a kind with a slash", manifest(`,{"apiVersion":"v1","kind":"A/B","metadata":{"name":"b"}}`), 422, []string{"/manifests/1/kind"}},
		{"a kind with a slash, in a list", manifest(`,{"apiVersion":"v1","kind":"List","metadata":{"name":"l"},"items":[{"apiVersion":"v1","kind":"A/B","metadata":{"name":"b"}}]}`), 422, []string{"/manifests/1"}},
		{"a manifest's name too long", manifest(`,{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + strings.Repeat("b", 254) + `"}}`), 422, []string{"/manifests/1/metadata/name"}},
		{"priority", with(`"priority":10`), 422, []string{"/priority"}},
		{"no whole priority", with(`"priority":1.5`), 422, []string{"/priority"}},
		{"timeout", with(`"timeoutSeconds":9`), 422, []string{"/timeoutSeconds"}},
		{"attempts", with(`"maxAttempts":6`), 422, []string{"/maxAttempts"}},
		{"a bad tag", with(`"tags":["a","b c"]`), 422, []string{"/tags/1"}},
		{"a tag twice", with(`"tags":["a","a"]`), 422, []string{"/tags/1"}},
		{"too many resources", with(`"targetResources":[` + resources(51) + `]`), 422, []string{"/targetResources"}},
		{"a bad namespace", with(`"targetResources":[{"apiVersion":"v1","kind":"Pod","namespace":"A_B","name":"p"}]`), 422, []string{"/targetResources/0/namespace"}},
		{"too many metadata", with(`"metadata":{` + metadata(65) + `}`), 422, []string{"/metadata"}},
		{"metadata too large", with(`"metadata":{"a":"` + strings.Repeat("x", 16384) + `"}`), 422, []string{"/metadata"}},
		{"an unknown mode", with(`"orchestrationMode":"cron"`), 422, []string{"/orchestrationMode"}},
		{"a manifest without kind", manifest(`,{"apiVersion":"v1","metadata":{"name":"b"}}`), 422, []string{"/manifests/1/kind"}},
		{"a manifest twice", manifest(`,{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`), 422, []string{"/manifests/1"}},
		{"a manifest twice, in a list", manifest(`,{"apiVersion":"v1","kind":"ConfigMapList","metadata":{"name":"l"},"items":[{"metadata":{"name":"a"}}]}`), 422, []string{"/manifests/1"}},
		{"a list of texts", manifest(`,{"apiVersion":"v1","kind":"List","metadata":{"name":"l"},"items":["a"]}`), 422, []string{"/manifests/1"}},
		{"a manifest's name with a space", manifest(`,{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a b"}}`), 422, []string{"/manifests/1"}},
		{"manifests too large", manifest(`,{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"},"data":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`), 422, []string{"/manifests"}},
		{"an empty key", with(`"idempotencyKey":""`), 422, []string{"/idempotencyKey"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			res := w.request(http.MethodPost, "/v1/codex/tasks", testToken, test.body)
			apitest.CheckResponse(t, res)
			p := problemOf(t, res)
			if res.StatusCode != test.status || p.Detail == "" {
				t.Fatalf("status %d: %+v, want %d", res.StatusCode, p, test.status)
			}
			var pointers []string
			for _, field := range p.Errors {
				pointers = append(pointers, field.Pointer)
			}
			slices.Sort(pointers)
			pointers = slices.Compact(pointers)
			if test.pointers != nil && !slices.Equal(pointers, test.pointers) {
				t.Errorf("errors %+v, want at %q", p.Errors, test.pointers)
			}
		})
	}
}

func variables(n, size int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"V%d":%q`, i, strings.Repeat("x", size)))
	}
	return strings.Join(all, ",")
}

func resources(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","namespace":"n","name":"p%d"}`, i))
	}
	return strings.Join(all, ",")
}

func metadata(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"k%d":1`, i))
	}
	return strings.Join(all, ",")
}

func TestRefused(t *testing.T) {
	t.Parallel()
	w := setup(t)
	created := w.submit(minimal, http.StatusCreated, "Idempotency-Key", "k")
	task := "/v1/codex/tasks/" + created.TaskID.String()
	nobody := "/v1/codex/tasks/01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d"
	tests := []struct {
		name, method, path, token, body string
		headers                         []string
		status                          int
		kind                            string
	}{
		{"no token", "GET", task, "", "", nil, 401, "unauthenticated"},
		{"a wrong token", "GET", task, "wrong-token-1234", "", nil, 401, "unauthenticated"},
		{"a task's token", "GET", task, created.Callback.Token, "", nil, 403, "forbidden"},
		{"submitting with a task's token", "POST", "/v1/codex/tasks", created.Callback.Token, minimal, nil, 403, "forbidden"},
		{"an unknown task", "GET", nobody, testToken, "", nil, 404, "not-found"},
		{"cancelling an unknown task", "POST", nobody + "/cancel", testToken, "", nil, 404, "not-found"},
		{"no id", "GET", "/v1/codex/tasks/1", testToken, "", nil, 400, "bad-request"},
		{"cancelling no id", "POST", "/v1/codex/tasks/1/cancel", testToken, "", nil, 400, "bad-request"},
		{"an unknown parameter", "GET", task + "?verbose=1", testToken, "", nil, 400, "bad-request"},
		{"an unknown field of a cancellation", "POST", task + "/cancel", testToken, `{"why":"x"}`, nil, 422, "invalid"},
		{"a cancellation too large", "POST", task + "/cancel", testToken, `{"reason":"` + strings.Repeat("x", 20<<10) + `"}`, nil, 413, "too-large"},
		{"another media type", "POST", "/v1/codex/tasks", testToken, minimal, []string{"Content-Type", "text/plain"}, 415, "unsupported-media-type"},
		{"compressed", "POST", "/v1/codex/tasks", testToken, minimal, []string{"Content-Encoding", "gzip"}, 415, "unsupported-media-type"},
		{"the key with another body", "POST", "/v1/codex/tasks", testToken, full, []string{"Idempotency-Key", "k"}, 422, "invalid"},
		{"two keys", "POST", "/v1/codex/tasks", testToken, with(`"idempotencyKey":"a"`), []string{"Idempotency-Key", "b"}, 422, "invalid"},
		{"a key too long", "POST", "/v1/codex/tasks", testToken, minimal, []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, "bad-request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			res := w.request(test.method, test.path, test.token, test.body, test.headers...)
			apitest.CheckResponse(t, res)
			if p := problemOf(t, res); res.StatusCode != test.status || p.Type != "urn:graf:problem:"+test.kind {
				t.Errorf("status %d: %+v, want %d of kind %s", res.StatusCode, p, test.status, test.kind)
			}
		})
	}
}

func TestPathsAndMethods(t *testing.T) {
	t.Parallel()
	w := setup(t)
	if res := w.request(http.MethodGet, "/v2/tasks", testToken, ""); res.StatusCode != http.StatusNotFound || problemOf(t, res).Detail == "" {
		t.Errorf("an unknown path: status %d", res.StatusCode)
	}
	res := w.request(http.MethodDelete, "/v1/codex/tasks", testToken, "")
	if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD, POST" || problemOf(t, res).Detail == "" {
		t.Errorf("DELETE: status %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
	}
}

func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ database, detail string }{
		"away":         {"postgres://graf:secret@127.0.0.1:1/graf", "The database does not answer"},
		"not migrated": {postgrestest.ServerURL(t), "migrate it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, "GRAF_DATABASE_URL", test.database)
			const task = "/v1/codex/tasks/01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d"
			for _, call := range [][3]string{
				{http.MethodPost, "/v1/codex/tasks", minimal}, {http.MethodPost, task + "/cancel", ""},
				{http.MethodGet, "/v1/codex/tasks", ""}, {http.MethodGet, task, ""},
			} {
				res := w.request(call[0], call[1], testToken, call[2])
				apitest.CheckResponse(t, res)
				if p := problemOf(t, res); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(p.Detail, test.detail) {
					t.Errorf("%s %s: status %d: %s", call[0], call[1], res.StatusCode, p.Detail)
				}
			}
			if status, _ := w.deliver(t, requested(t, testSource, "1", minimal)); status != http.StatusServiceUnavailable {
				t.Errorf("event: status %d, want 503, so that it comes again", status)
			}
		})
	}
}
