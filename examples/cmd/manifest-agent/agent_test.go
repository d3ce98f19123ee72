package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

const token = "graf_task_secret"

// graf stands in for the callback and memory functions and for object storage.
type graf struct {
	*httptest.Server
	t *testing.T

	// answer, if set, answers an event in place of graf: it returns the status, or 0.
	answer func(n int, e event) int
	memory string // JSON that the memory endpoint answers

	mu       sync.Mutex
	requests int
	events   []event
	files    map[string]string // uploaded, by their announced SHA-256
}

func newGraf(t *testing.T) *graf {
	g := &graf{t: t, files: map[string]string{}, memory: `{"results":[]}`}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /events", g.takeEvent)
	mux.HandleFunc("PUT /bucket/{sha256}", g.takeFile)
	mux.HandleFunc("GET /memory", func(w http.ResponseWriter, r *http.Request) {
		g.authorized(r)
		if kind := r.URL.Query().Get("resourceKind"); kind != "Deployment" {
			t.Errorf("recall of resourceKind %q, want Deployment", kind)
		}
		_, _ = io.WriteString(w, g.memory)
	})
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	return g
}

func (g *graf) authorized(r *http.Request) {
	if got := r.Header.Get("Authorization"); got != "Bearer "+token {
		g.t.Errorf("Authorization of %s %s = %q", r.Method, r.URL.Path, got)
	}
	if got := r.Header.Get("Traceparent"); got != traceParent {
		g.t.Errorf("traceparent = %q, want %q", got, traceParent)
	}
}

func (g *graf) takeEvent(w http.ResponseWriter, r *http.Request) {
	g.authorized(r)
	var e event
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		g.t.Errorf("event: %v", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests++
	if g.answer != nil {
		if status := g.answer(g.requests, e); status != 0 {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"detail":"1 field is not valid.","errors":[{"pointer":"/content","detail":"is too long"}]}`)
			return
		}
	}
	g.events = append(g.events, e)
	answer := accepted{}
	for _, a := range e.Artifacts {
		answer.Uploads = append(answer.Uploads, upload{
			Name: a.Name, Method: http.MethodPut, URL: g.URL + "/bucket/" + a.SHA256 + "?X-Signature=secret",
			Headers: map[string]string{"Content-Type": a.ContentType, "X-Amz-Checksum-Sha256": a.SHA256},
		})
	}
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(answer)
}

func (g *graf) takeFile(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		g.t.Error("the token was sent to object storage")
	}
	if r.Header.Get("X-Amz-Checksum-Sha256") != r.PathValue("sha256") || r.Header.Get("Content-Type") != "application/yaml" {
		g.t.Errorf("upload without the headers that were signed: %v", r.Header)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		g.t.Error(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.files[r.PathValue("sha256")] = string(body)
	w.WriteHeader(http.StatusOK)
}

func (g *graf) types() string {
	var types []string
	for _, e := range g.events {
		types = append(types, e.EventType)
	}
	return strings.Join(types, " ")
}

const traceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// environment is the container's, with a prompt and the manifests in testdata.
func (g *graf) environment(prompt string, deadline time.Time) func(string) string {
	g.t.Helper()
	file := filepath.Join(g.t.TempDir(), "prompt.md")
	if err := os.WriteFile(file, []byte(prompt), 0o600); err != nil {
		g.t.Fatal(err)
	}
	variables := map[string]string{
		"GRAF_TASK_ID": "01985c1e-0000-7000-8000-000000000001", "GRAF_CALLBACK_URL": g.URL + "/events",
		"GRAF_CALLBACK_TOKEN": token, "GRAF_MEMORY_URL": g.URL + "/memory", "GRAF_PROMPT_FILE": file,
		"GRAF_MANIFESTS_DIR": "testdata", "GRAF_DEADLINE": deadline.Format(time.RFC3339Nano), "TRACEPARENT": traceParent,
	}
	return func(name string) string { return variables[name] }
}

func (g *graf) run(prompt string, arguments ...string) error {
	g.t.Helper()
	arguments = append([]string{"--name", "web", "--reason", "It ran out of memory.", "--lesson", "Measure first."}, arguments...)
	return run(g.t.Context(), arguments, g.environment(prompt, time.Now().Add(time.Minute)))
}

const limit = "spec.template.spec.containers[name=web].resources.limits.memory"

func TestRunReportsUploadsAndCompletes(t *testing.T) {
	t.Parallel()
	g := newGraf(t)
	if err := g.run("Give it a limit.", "--set", limit+"=512Mi"); err != nil {
		t.Fatal(err)
	}
	if want := "started progress artifact snapshot completed"; g.types() != want {
		t.Fatalf("events = %s, want %s", g.types(), want)
	}
	announced := g.events[2].Artifacts[0]
	file := g.files[announced.SHA256]
	if sum := sha256.Sum256([]byte(file)); hex.EncodeToString(sum[:]) != announced.SHA256 || len(file) != announced.SizeBytes {
		t.Errorf("uploaded %d bytes, not the %d announced, or with another digest", len(file), announced.SizeBytes)
	}
	var edited manifest
	if err := yaml.Unmarshal([]byte(file), &edited); err != nil {
		t.Fatal(err)
	}
	after := g.events[3].Snapshot
	if after.Type != "after" || len(after.Manifests) != 2 {
		t.Errorf("snapshot %q of %d manifests, want after of 2", after.Type, len(after.Manifests))
	}
	for _, m := range []manifest{edited, after.Manifests[0]} {
		if before, err := memoryLimit(t).set(m, ""); err != nil || before != "512Mi" {
			t.Errorf("limit = %v, %v; want 512Mi", before, err)
		}
	}
	completed, _ := g.events[4].Content.(map[string]any)
	taught := recalled{kind: "outcome", text: completed["summary"].(string)}
	if values := taughtValues(taught, memoryLimit(t)); !slices.Equal(values, []string{"512Mi"}) {
		t.Errorf("the next task would learn %q of %q", values, taught.text)
	}
	if completed["lesson"] != "Measure first." || !strings.Contains(taught.text, "It ran out of memory.") {
		t.Errorf("completed = %v", completed)
	}
}

func TestRunTakesTheValueFromMemory(t *testing.T) {
	t.Parallel()
	prompt, err := os.ReadFile("testdata/prompt.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, prompt, want string }{
		{"in the prompt", string(prompt),
			"Followed memory 01985c1e-0000-7000-8000-00000000000a (score 0.91, outcome, from the prompt): resources.limits.memory of another resource is 512Mi."},
		{"at the endpoint", "Give it a limit.",
			"Followed memory 01985c1e-0000-7000-8000-00000000000c (score 0.50, diff, from the memory endpoint): resources.limits.memory of another resource is 256Mi."},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGraf(t)
			g.memory = `{"results":[{"memoryId":"01985c1e-0000-7000-8000-00000000000c","score":0.5,` +
				`"snippet":"container app memory limit 128Mi → 256Mi","source":{"kind":"diff"}}]}`
			if err := g.run(test.prompt, "--set", limit, "--value-from-memory"); err != nil {
				t.Fatal(err)
			}
			if got := g.events[1].Content; got != test.want {
				t.Errorf("progress = %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestRunFailsWithAPreciseReason(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, set, want string }{
		{"limit below the request", limit + "=32Mi", "container web: limits.memory 32Mi is below requests.memory 100Mi"},
		{"no quantity", limit + "=much", `container web: limits.memory "much" is no quantity, such as 500m or 256Mi`},
		{"no such container", "spec.template.spec.containers[name=db].image=x",
			"spec.template.spec.containers[name=db]: there is no such item; there is proxy, web"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGraf(t)
			if err := g.run("Change it.", "--set", test.set); err == nil {
				t.Fatal("it succeeded")
			}
			if last := g.events[len(g.events)-1]; last.EventType != "failed" || last.Content != test.want {
				t.Errorf("last event = %s %q\nwant failed %q", last.EventType, last.Content, test.want)
			}
			if strings.Contains(g.types(), "snapshot") {
				t.Errorf("events = %s: an invalid state was reported", g.types())
			}
		})
	}
}

func TestRunHeedsHowTheLastAttemptFailed(t *testing.T) {
	t.Parallel()
	prompt, err := os.ReadFile("testdata/prompt.md")
	if err != nil {
		t.Fatal(err)
	}
	g := newGraf(t)
	if err := g.run(string(prompt), "--set", limit+"=32Mi", "--heed-failure"); err != nil {
		t.Fatal(err)
	}
	before, err := memoryLimit(t).set(g.events[4].Snapshot.Manifests[0], "")
	if err != nil || before != "100Mi" {
		t.Errorf("limit = %v, %v; want 100Mi, the smallest that is valid", before, err)
	}
	if err := newGraf(t).run(string(prompt), "--set", limit+"=32Mi"); err == nil {
		t.Error("without --heed-failure it did not fail again")
	}
}

func TestCallbacksAreTriedAgainWithTheSameID(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusInternalServerError} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			g := newGraf(t)
			var refused string
			g.answer = func(n int, e event) int {
				if n == 2 {
					refused = e.EventID
					return status
				}
				return 0
			}
			if err := g.run("Do it.", "--set", limit+"=512Mi"); err != nil {
				t.Fatal(err)
			}
			if g.events[1].EventID != refused {
				t.Errorf("the event %q was sent again as %q", refused, g.events[1].EventID)
			}
			if want := "started progress artifact snapshot completed"; g.types() != want {
				t.Errorf("events = %s, want %s", g.types(), want)
			}
		})
	}
}

func TestRefusedCallbackIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	g := newGraf(t)
	g.answer = func(int, event) int { return http.StatusUnprocessableEntity }
	err := g.run("Do it.", "--set", limit+"=512Mi")
	if err == nil || !strings.Contains(err.Error(), "422 Unprocessable Entity: 1 field is not valid.: /content is too long") {
		t.Errorf("error = %v, want the answer's own words", err)
	}
	if g.requests != 2 { // started, and the report of the failure
		t.Errorf("%d requests, want 2", g.requests)
	}
}

func TestRunStopsAtTheDeadline(t *testing.T) {
	t.Parallel()
	g := newGraf(t)
	g.answer = func(int, event) int { return http.StatusServiceUnavailable }
	err := run(t.Context(), []string{"--name", "web", "--set", limit + "=512Mi"},
		g.environment("Do it.", time.Now().Add(300*time.Millisecond)))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want that the deadline has passed", err)
	}
}

func TestErrorsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	g := newGraf(t)
	g.Close() // nothing answers: net/http's errors have the whole address
	c, err := readContract(g.environment("Do it.", time.Now().Add(time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(c)
	_, err = client.try(func() (*http.Request, error) {
		return client.request(t.Context(), http.MethodPut, g.URL+"/bucket?X-Signature=secret", nil)
	}, nil)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error = %v, want one without token and signature", err)
	}
}
