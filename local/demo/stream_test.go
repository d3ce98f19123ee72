package demo

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/graf-run/graf/shared/api"
)

// TestStreamIsResumed breaks the stream off after each event, once in the middle of one.
func TestStreamIsResumed(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"":  ": hello\n\nid: 1\nevent: started\ndata: {\"sequence\":1,\"eventType\":\"started\"}\n\nid: 2\nevent: pro",
		"1": "id: 2\nevent: progress\ndata: {\"sequence\":2,\ndata: \"eventType\":\"progress\"}\n\n",
		"2": ": heartbeat\n\nevent: end\ndata: {}\n\nid: 3\ndata: {\"sequence\":3}\n\n",
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" || r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("request with %v", r.Header)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, answers[r.Header.Get("Last-Event-ID")])
	}))
	t.Cleanup(server.Close)
	events := make(chan api.TaskEvent, 10)
	if err := newClient(server.URL, "secret").stream(t.Context(), "id", events); err != nil {
		t.Fatal(err)
	}
	close(events)
	var sequences []int64
	for event := range events {
		sequences = append(sequences, event.Sequence)
	}
	if want := []int64{1, 2}; !slices.Equal(sequences, want) {
		t.Errorf("events %v, want %v", sequences, want)
	}
}

func TestStreamThatIsRefusedIsNotResumed(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	err := newClient(server.URL, "secret").stream(t.Context(), "id", nil)
	if err == nil || !strings.Contains(err.Error(), "401") || requests.Load() != 1 {
		t.Errorf("error = %v after %d requests, want 401 after one", err, requests.Load())
	}
}
