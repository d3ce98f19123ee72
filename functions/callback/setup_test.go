package callback_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/functions/callback"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/apitest"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/eventtest"
	"github.com/graf-run/graf/shared/postgrestest"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/redistest"
	"github.com/graf-run/graf/shared/s3test"
)

const apiToken = "ci-token-12345"

// world is the function on real servers, as func-go would run it.
type world struct {
	t       testing.TB
	server  *httptest.Server
	pool    *pgxpool.Pool
	sink    *eventtest.Sink
	context context.Context
}

// setup starts the function. settings change its environment.
func setup(t testing.TB, settings ...string) *world {
	t.Helper()
	// As func-go has it.
	return setupServer(t, 30*time.Second, settings...)
}

// setupServer is setup with what the server allows for reading a request and
// for answering it.
func setupServer(t testing.TB, timeout time.Duration, settings ...string) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	databaseURL := postgrestest.URL(t)
	pool, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	_, prefix := redistest.New(t)
	bucket := s3test.New(t)
	w := &world{t: t, pool: pool, sink: eventtest.NewSink(t), context: ctx}
	environment := map[string]string{
		"GRAF_DATABASE_URL": databaseURL, "GRAF_REDIS_URL": os.Getenv(redistest.Variable), "GRAF_REDIS_PREFIX": prefix,
		"GRAF_S3_ENDPOINT": bucket.Endpoint, "GRAF_S3_BUCKET": bucket.Name, "GRAF_S3_REGION": bucket.Region,
		"GRAF_S3_ACCESS_KEY_ID": bucket.AccessKeyID, "GRAF_S3_SECRET_ACCESS_KEY": bucket.SecretAccessKey,
		"K_SINK": w.sink.URL, "GRAF_API_BEARER_TOKENS": "ci=" + apiToken,
		"KUBECONFIG": writeKubeconfig(t, "http://127.0.0.1:1"), // where nobody listens
	}
	for i := 0; i < len(settings); i += 2 {
		environment[settings[i]] = settings[i+1]
	}
	w.serve(environment, timeout)
	return w
}

func (w *world) serve(environment map[string]string, timeout time.Duration) {
	w.t.Helper()
	instance := callback.New()
	if err := instance.Start(w.context, environment); err != nil {
		w.t.Fatal(err)
	}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(instance.Handle))
	w.server.Config.ReadTimeout, w.server.Config.WriteTimeout = timeout, timeout
	w.server.Start()
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := w.server.Config.Shutdown(ctx); err != nil {
			w.t.Errorf("the server does not stop: %v", err)
		}
		w.server.Close()
		if err := instance.Stop(ctx); err != nil {
			w.t.Error(err)
		}
	})
}

// task is one that the database has.
type task struct {
	id uuid.UUID
	// token is the submitter's.
	token string
}

func (k task) path() string { return "/v1/codex/tasks/" + k.id.String() + "/events" }

// task makes a task that waits.
func (w *world) task() task {
	w.t.Helper()
	k := task{id: uuid.Must(uuid.NewV7())}
	w.exec(`INSERT INTO codex_tasks (id, caller, idempotency_key, request_digest, updated_by, prompt, agent,
			priority, timeout_seconds, max_attempts, namespaces, resource_kinds, tags)
		VALUES ($1::uuid, 'ci', $1::uuid::text, '', 'test', 'p', '{}', 5, 600, 3, '{shop}', '{Deployment}', '{demo}')`, k.id)
	k.token = w.token(k, "submitter")
	return k
}

// running makes a task whose first attempt runs.
func (w *world) running() task {
	w.t.Helper()
	k := w.task()
	w.move(k, "launching", "running")
	return k
}

// move takes a task along the state machine; a launch is the next attempt's.
func (w *world) move(k task, statuses ...string) {
	w.t.Helper()
	for _, status := range statuses {
		w.exec(`UPDATE codex_tasks SET status = $2, updated_by = 'test',
			attempt = attempt + CASE WHEN $2 = 'launching' THEN 1 ELSE 0 END WHERE id = $1`, k.id, status)
	}
}

func (w *world) token(k task, issuedTo string) string {
	w.t.Helper()
	token, hash := auth.NewTaskToken()
	w.exec("INSERT INTO codex_task_tokens (token_hash, task_id, issued_to) VALUES ($1, $2, $3)", hash, k.id, issuedTo)
	return token
}

// request sends a body, with its media type unless a header of pairs says
// otherwise. The answer must be as the OpenAPI document says.
func (w *world) request(method, path, token, body string, headers ...string) (int, []byte) {
	w.t.Helper()
	res := w.do(method, path, token, body, headers...)
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode, apitest.CheckResponse(w.t, res)
}

func (w *world) do(method, path, token, body string, headers ...string) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.context, method, w.server.URL+path, strings.NewReader(body))
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
	res, err := w.server.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// post reports events that must be taken.
func (w *world) post(k task, body string) api.EventsAccepted {
	w.t.Helper()
	return w.postAs(k, k.token, body)
}

func (w *world) postAs(k task, token, body string) api.EventsAccepted {
	w.t.Helper()
	status, data := w.request(http.MethodPost, k.path(), token, body)
	if status != http.StatusAccepted {
		w.t.Fatalf("status %d: %s", status, data)
	}
	return decode[api.EventsAccepted](w.t, data)
}

// page reads events.
func (w *world) page(k task, query string) api.EventPage {
	w.t.Helper()
	status, data := w.request(http.MethodGet, k.path()+query, apiToken, "")
	if status != http.StatusOK {
		w.t.Fatalf("status %d: %s", status, data)
	}
	return decode[api.EventPage](w.t, data)
}

// upload puts bytes where the answer says.
func (w *world) upload(u api.Upload, content string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.context, string(u.Method), u.URL, bytes.NewBufferString(content))
	if err != nil {
		w.t.Fatal(err)
	}
	for name, value := range u.Headers {
		r.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		w.t.Fatalf("upload: %s: %s", res.Status, text)
	}
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.pool.Exec(w.context, sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// one runs a query for one value.
func one[T any](w *world, sql string, args ...any) T {
	w.t.Helper()
	var value T
	if err := w.pool.QueryRow(w.context, sql, args...).Scan(&value); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func decode[T any](t testing.TB, data []byte) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return value
}

// wantProblem checks an answer's status and its type.
func wantProblem(t testing.TB, status int, data []byte, want *problem.Kind) problem.Problem {
	t.Helper()
	p := decode[problem.Problem](t, data)
	if status != problem.Status(want) || p.Type != want.URN() {
		t.Fatalf("status %d, want %d: %s", status, problem.Status(want), data)
	}
	return p
}

// event is a body with one progress event.
func event(id, text string) string {
	return fmt.Sprintf(`{"eventId":%q,"eventType":"progress","content":%q}`, id, text)
}
