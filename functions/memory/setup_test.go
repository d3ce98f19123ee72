package memory_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pgvector/pgvector-go"

	graf "github.com/graf-run/graf/functions/memory"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/apitest"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/embedding"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/postgrestest"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/redistest"
	"github.com/graf-run/graf/shared/tasktest"
)

const (
	apiToken  = "ci-token-12345"
	opsToken  = "ops-token-12345"
	model     = "test-model"
	dimension = 3
)

// world is the function on real servers, as func-go would run it.
type world struct {
	t   testing.TB
	url string
	db  *pgxpool.Pool
}

// setup starts the function. settings change its environment, in pairs.
func setup(t testing.TB, settings ...string) *world {
	t.Helper()
	databaseURL := postgrestest.URL(t)
	db, err := pgxpool.New(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	_, prefix := redistest.New(t)
	environment := map[string]string{
		"GRAF_DATABASE_URL": databaseURL, "GRAF_REDIS_URL": os.Getenv(redistest.Variable), "GRAF_REDIS_PREFIX": prefix,
		"GRAF_API_BEARER_TOKENS": "ci=" + apiToken + ",ops=" + opsToken + ",other=other-token-12345", "GRAF_OPERATORS": "ops",
		"GRAF_CALLBACK_BASE_URL": "http://127.0.0.1:1",
		"OPENAI_BASE_URL":        embeddings(t), "OPENAI_EMBEDDING_MODEL": model, "OPENAI_EMBEDDING_DIMENSION": fmt.Sprint(dimension),
	}
	for i := 0; i < len(settings); i += 2 {
		environment[settings[i]] = settings[i+1]
	}
	instance := graf.New()
	if err := instance.Start(context.Background(), environment); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(instance.Handle))
	t.Cleanup(func() {
		server.Close()
		if err := instance.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &world{t: t, url: server.URL, db: db}
}

// embeddings serves the embeddings API with vectors by what a text is about.
func embeddings(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct{ Input []string }
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		var data []map[string]any
		for i, text := range request.Input {
			data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": encode(vectorOf(text))})
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"object": "list", "model": model, "data": data,
			"usage": map[string]int{"prompt_tokens": 1, "total_tokens": 1}})
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// encode writes a vector as the embeddings API does when asked for base64.
func encode(vector []float32) string {
	data, err := binary.Append(nil, binary.LittleEndian, vector)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(data)
}

// vectorOf is a vector by what the text is about: scaling, storage or else.
func vectorOf(text string) []float32 {
	switch {
	case strings.Contains(text, "replicas"), strings.Contains(text, "copies"):
		return []float32{1, 0.1, 0}
	case strings.Contains(text, "disk"):
		return []float32{0, 1, 0}
	default:
		return []float32{0, 0, 1}
	}
}

// learn stores a task with an outcome, as it is once embedded.
func (w *world) learn(text string, about memory.Task) uuid.UUID {
	w.t.Helper()
	about.ID = tasktest.Queued(w.t, w.db, tasktest.Task{Prompt: "zzz"}).ID
	err := memory.Write(w.t.Context(), query.New(w.db), about,
		memory.Part{Kind: memory.KindOutcome, Text: text, Metadata: map[string]any{"attempt": 1}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.embed(text)
	return about.ID
}

func (w *world) embed(text string) {
	w.t.Helper()
	hash := embedding.ContentHash(text)
	tasktest.Exec(w.t, w.db, `INSERT INTO codex_embeddings (content_hash, model, dimension, embedding)
		VALUES ($1, $2, $3, $4::halfvec)`, hash[:], model, dimension, pgvector.NewHalfVector(vectorOf(text)).String())
}

// token gives task a token of its own.
func (w *world) token(task uuid.UUID) string {
	w.t.Helper()
	token, hash := auth.NewTaskToken()
	tasktest.Exec(w.t, w.db, `INSERT INTO codex_task_tokens (token_hash, task_id, issued_to) VALUES ($1, $2, 'test')`, hash, task)
	return token
}

// request sends a request whose answer must be as the OpenAPI document says.
func (w *world) request(method, path, token, body string) (*http.Response, []byte) {
	w.t.Helper()
	return w.requestWith(method, path, token, body)
}

// requestWith is request with headers, in pairs. A path without a slash is one below tasks.
func (w *world) requestWith(method, path, token, body string, headers ...string) (*http.Response, []byte) {
	w.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/v1/codex/tasks/" + path
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
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
	defer func() { _ = res.Body.Close() }()
	return res, apitest.CheckResponse(w.t, res)
}

// results asks with a GET, or a POST of body, and expects success.
func (w *world) results(task uuid.UUID, parameters, body string) api.MemoryResults {
	w.t.Helper()
	method, path := http.MethodGet, task.String()+"/memory"+parameters
	if body != "" {
		method, path = http.MethodPost, task.String()+"/memory/query"
	}
	res, data := w.request(method, path, apiToken, body)
	var results api.MemoryResults
	if err := json.Unmarshal(data, &results); err != nil || res.StatusCode != http.StatusOK {
		w.t.Fatalf("status %d, %v: %s", res.StatusCode, err, data)
	}
	return results
}

func sources(results api.MemoryResults) []uuid.UUID {
	found := []uuid.UUID{}
	for _, r := range results.Results {
		found = append(found, r.Source.TaskID)
	}
	return found
}

func problemOf(t testing.TB, data []byte) problem.Problem {
	t.Helper()
	var p problem.Problem
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatalf("%q is no problem document: %v", data, err)
	}
	return p
}
