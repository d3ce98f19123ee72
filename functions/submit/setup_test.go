package submit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/functions/submit"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/apitest"
	"github.com/graf-run/graf/shared/eventtest"
	"github.com/graf-run/graf/shared/postgrestest"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/redistest"
	"github.com/graf-run/graf/shared/s3test"
)

const (
	testToken  = "ci-token-12345"
	otherToken = "ops-token-12345"
	testSource = "/cluster/drift-detector"
)

// world is the function on real servers, as func-go would run it.
type world struct {
	t       testing.TB
	url     string
	pool    *pgxpool.Pool
	sink    *eventtest.Sink
	bucket  *s3test.Bucket
	context context.Context
}

// setup starts the function. settings change its environment.
func setup(t testing.TB, settings ...string) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	databaseURL := postgrestest.URL(t)
	pool, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	_, prefix := redistest.New(t)
	w := &world{t: t, pool: pool, sink: eventtest.NewSink(t), bucket: s3test.New(t), context: ctx}
	environment := map[string]string{
		"GRAF_DATABASE_URL": databaseURL, "GRAF_REDIS_URL": os.Getenv(redistest.Variable), "GRAF_REDIS_PREFIX": prefix,
		"GRAF_S3_ENDPOINT": w.bucket.Endpoint, "GRAF_S3_BUCKET": w.bucket.Name, "GRAF_S3_REGION": w.bucket.Region,
		"GRAF_S3_ACCESS_KEY_ID": w.bucket.AccessKeyID, "GRAF_S3_SECRET_ACCESS_KEY": w.bucket.SecretAccessKey,
		"K_SINK": w.sink.URL, "GRAF_API_BEARER_TOKENS": "ci=" + testToken + ",ops=" + otherToken,
		"GRAF_CALLBACK_BASE_URL": "http://callback.test/", "GRAF_MEMORY_BASE_URL": "http://memory.test",
		"GRAF_EVENT_SOURCES": testSource + "=ops", "GRAF_POLICY_FILE": "testdata/policy.yaml",
	}
	for i := 0; i < len(settings); i += 2 {
		environment[settings[i]] = settings[i+1]
	}
	w.url = serve(ctx, t, environment)
	return w
}

func serve(ctx context.Context, t testing.TB, environment map[string]string) string {
	t.Helper()
	instance := submit.New()
	if err := instance.Start(ctx, environment); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(instance.Handle))
	t.Cleanup(func() {
		server.Close()
		if err := instance.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return server.URL
}

// request sends what is not nil or empty of token, headers (pairs) and body.
func (w *world) request(method, path, token, body string, headers ...string) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.context, method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	data, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		w.t.Fatal(err)
	}
	res.Body = io.NopCloser(bytes.NewReader(data))
	return res
}

// call is a request of caller ci whose answer must have the status and be as
// the OpenAPI document says; its body goes into into.
func (w *world) call(method, path, body string, status int, into any, headers ...string) *http.Response {
	w.t.Helper()
	res := w.request(method, path, testToken, body, headers...)
	data := apitest.CheckResponse(w.t, res)
	if res.StatusCode != status {
		w.t.Fatalf("%s %s: status %d, want %d: %s", method, path, res.StatusCode, status, data)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			w.t.Fatal(err)
		}
	}
	return res
}

func (w *world) submit(body string, status int, headers ...string) api.TaskCreated {
	w.t.Helper()
	var created api.TaskCreated
	w.call(http.MethodPost, "/v1/codex/tasks", body, status, &created, headers...)
	return created
}

func (w *world) get(id string) api.Task {
	w.t.Helper()
	var task api.Task
	w.call(http.MethodGet, "/v1/codex/tasks/"+id, "", http.StatusOK, &task)
	return task
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.pool.Exec(w.context, sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// count runs a query for one number.
func (w *world) count(sql string, args ...any) int {
	w.t.Helper()
	var n int
	if err := w.pool.QueryRow(w.context, sql, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// move takes a task along the state machine.
func (w *world) move(id string, statuses ...string) {
	w.t.Helper()
	for _, status := range statuses {
		w.exec("UPDATE codex_tasks SET status = $2, updated_by = 'test' WHERE id = $1", id, status)
	}
}

// problemOf reads a problem document.
func problemOf(t testing.TB, res *http.Response) problem.Problem {
	t.Helper()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var p problem.Problem
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatalf("status %d: %q is no problem document: %v", res.StatusCode, data, err)
	}
	return p
}

const minimal = `{"prompt":"Raise the replicas.","agent":{"command":["true"]}}`

const full = `{
	"prompt": "Raise the replicas of the broker ingress to three.",
	"targetResources": [
		{"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "knative-eventing", "name": "mt-broker-ingress"},
		{"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "default", "name": "web"},
		{"apiVersion": "v1", "kind": "Namespace", "name": "default"}],
	"manifests": [
		{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "mt-broker-ingress", "namespace": "knative-eventing"}, "spec": {"replicas": 1}},
		{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password", "namespace": "default"}, "stringData": {"password": "hunter2-hunter2"}}],
	"agent": {"command": ["/usr/local/bin/codex-agent", "-v"], "env": {"API_KEY": "sk-in-the-environment"}, "image": "ghcr.io/graf/agent:1"},
	"priority": 7, "timeoutSeconds": 600, "maxAttempts": 3,
	"tags": ["eventing", "availability"],
	"metadata": {"ticket": 9007199254740993, "deep": {"a": [1, 2.50]}}
}`
