package gateway_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/graf-run/graf/local/gateway"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/problem"
)

// open starts a gateway.
func open(t *testing.T, functions gateway.Functions) string {
	t.Helper()
	handler, err := gateway.New(functions, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// function starts a server that tells its name and what it was asked.
func function(t *testing.T, name string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "%s %s %s %s host=%s by=%s body=%s", name, r.Method, r.URL.RequestURI(),
			r.Header.Get("Authorization"), r.Host, r.Header.Get("X-Forwarded-Host"), body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func ask(t *testing.T, method, url, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "graf.example.com"
	req.Header.Set("Authorization", "Bearer abc")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

// Each operation of the OpenAPI document goes to the function that serves it.
func TestOperationsReachTheirFunction(t *testing.T) {
	t.Parallel()
	url := open(t, gateway.Functions{
		Submit: function(t, "submit"), Callback: function(t, "callback"), Memory: function(t, "memory"),
	})
	validator, err := api.NewValidator()
	if err != nil {
		t.Fatal(err)
	}
	for operation, want := range map[string]string{
		api.OperationSubmitTask: "submit", api.OperationListTasks: "submit",
		api.OperationGetTask: "submit", api.OperationCancelTask: "submit",
		api.OperationPostTaskEvents: "callback", api.OperationListTaskEvents: "callback",
		api.OperationListTaskMemory: "memory", api.OperationQueryTaskMemory: "memory", api.OperationPostTaskMCP: "memory",
		api.OperationRetryTask: "submit", api.OperationListDeadLetters: "submit",
		api.OperationGetDeadLetter: "submit", api.OperationReplayLetter: "submit",
		api.OperationQueryMemory: "memory", api.OperationGetMemory: "memory", api.OperationForgetMemory: "memory",
	} {
		method, path, _ := strings.Cut(validator.Pattern(operation), " ")
		path = strings.NewReplacer("{taskId}", "7", "{memoryId}", "7", "{deadLetterId}", "7").Replace(path) + "?limit=3&tag=a%2Fb"
		res, got := ask(t, method, url+path, "{}")
		wanted := fmt.Sprintf("%s %s %s Bearer abc host=graf.example.com by=graf.example.com body={}", want, method, path)
		if res.StatusCode != http.StatusTeapot || got != wanted {
			t.Errorf("%s: %d %q, want %q", operation, res.StatusCode, got, wanted)
		}
	}
	for _, path := range []string{"/", "/health/readiness", "/v1/codex/tasks/7/other", "/dead-letters"} {
		if res, got := ask(t, http.MethodPost, url+path, "{}"); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s reaches a function: %d %q", path, res.StatusCode, got)
		}
	}
}

// A stream's first event comes before its second is made.
func TestStreamsPassAsTheyCome(t *testing.T) {
	t.Parallel()
	read := make(chan struct{})
	callback := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, line := range []string{"one\n", "two\n"} {
			_, _ = io.WriteString(w, line)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-read:
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer callback.Close()
	url := open(t, gateway.Functions{Callback: callback.URL})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/codex/tasks/7/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for _, want := range []string{"one\n", "two\n"} {
		if got, err := lines.ReadString('\n'); err != nil || got != want {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
		read <- struct{}{}
	}
}

func TestFunctionThatIsAwayIsUnavailable(t *testing.T) {
	t.Parallel()
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	res, body := ask(t, http.MethodGet, open(t, gateway.Functions{Submit: away.URL})+"/v1/codex/tasks", "")
	var doc problem.Problem
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" ||
		res.Header.Get("Content-Type") != problem.ContentType ||
		doc.Type != problem.ErrUnavailable.URN() || doc.Status != res.StatusCode || doc.Title != problem.ErrUnavailable.Error() {
		t.Errorf("%d %v %+v, want the functions' own answer", res.StatusCode, res.Header, doc)
	}
}
