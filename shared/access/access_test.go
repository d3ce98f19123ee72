package access_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/problem"
)

// serve runs one request through the middleware on a real server and returns
// the answer, its body and the last line of the log.
func serve(t *testing.T, handle http.HandlerFunc, request func(*http.Request)) (*http.Response, string, map[string]any) {
	t.Helper()
	var log bytes.Buffer
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/{id}", handle)
	server := httptest.NewServer(access.Handler(mux, 10, slog.New(slog.NewJSONHandler(&log, nil))))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/7", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if request != nil {
		request(r)
	}
	resp, err := server.Client().Do(r)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
	// Close waits for the handler, and so for its line.
	server.Close()
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	line := map[string]any{}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		t.Fatalf("log %q: %v", log.String(), err)
	}
	if err != nil {
		line["clientError"] = err.Error()
	}
	return resp, string(body), line
}

func TestHandlerLogsAndNumbersRequests(t *testing.T) {
	t.Parallel()
	resp, body, line := serve(t, func(w http.ResponseWriter, r *http.Request) {
		access.Note(r.Context(), slog.String("caller", "alice"))
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "done")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush: %v", err)
		}
	}, func(r *http.Request) { r.Header.Set(problem.RequestIDHeader, "mine-1") })
	if resp.StatusCode != http.StatusAccepted || body != "done" || resp.Header.Get(problem.RequestIDHeader) != "mine-1" {
		t.Errorf("answer = %d %q %v", resp.StatusCode, body, resp.Header)
	}
	for key, want := range map[string]any{
		"method": "POST", "path": "/v1/7", "status": 202.0, "bytes": 4.0, "requestId": "mine-1", "caller": "alice",
	} {
		if line[key] != want {
			t.Errorf("log has %s = %v, want %v", key, line[key], want)
		}
	}
}

func TestHandlerReplacesUnfitIDs(t *testing.T) {
	t.Parallel()
	resp, _, _ := serve(t, func(http.ResponseWriter, *http.Request) {}, func(r *http.Request) {
		r.Header.Set(problem.RequestIDHeader, "<script>")
	})
	if id := resp.Header.Get(problem.RequestIDHeader); len(id) != 36 {
		t.Errorf("id = %q, want a UUID", id)
	}
}

func TestHandlerBoundsBodies(t *testing.T) {
	t.Parallel()
	resp, _, line := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			problem.Write(w, r, err)
		}
	}, func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("01234567890")), -1 })
	if resp.StatusCode != http.StatusRequestEntityTooLarge || line["status"] != 413.0 {
		t.Errorf("status = %d, log %v", resp.StatusCode, line)
	}
}

func TestHandlerAnswersForPanics(t *testing.T) {
	t.Parallel()
	resp, body, line := serve(t, func(http.ResponseWriter, *http.Request) { panic("hunter2") }, nil)
	if resp.StatusCode != http.StatusInternalServerError || resp.Header.Get("Content-Type") != problem.ContentType {
		t.Errorf("answer = %d %v", resp.StatusCode, resp.Header)
	}
	if strings.Contains(body, "hunter2") {
		t.Errorf("the body tells the panic: %s", body)
	}
	if line["status"] != 500.0 {
		t.Errorf("log = %v", line)
	}
}

func TestHandlerCutsAnswersThatPanicHalfway(t *testing.T) {
	t.Parallel()
	_, _, line := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic("halfway")
	}, nil)
	if line["clientError"] == nil {
		t.Error("the client took half an answer for all of it")
	}
}
