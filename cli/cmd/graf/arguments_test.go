package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// What is no id, or no number of things, is told with where to look.
func TestBadArguments(t *testing.T) {
	t.Setenv("GRAF_URL", "http://127.0.0.1:1")
	t.Setenv("GRAF_TOKEN", "x")
	for line, says := range map[string]string{
		"get x":                    noTask,
		"watch x":                  noTask,
		"mcp x":                    noTask,
		"memory show x":            noMemory,
		"memory forget x":          noMemory,
		"dlq show x":               noLetter,
		"dlq replay x":             noLetter,
		"approve " + someID + " x": noApproval,
		"list --limit 0":           "--limit 0: it is 1 or more",
		"dlq list --limit=-1":      "--limit -1: it is 1 or more",
	} {
		s, out := plain("")
		if status := run(t, s, strings.Fields(line)...); status != exitUsage || !strings.Contains(out.String(), says) {
			t.Errorf("%s: status %d, want %d and %q: %s", line, status, exitUsage, says, out)
		}
	}
}

// A shell that completes does not wait for a Graf that is away or slow.
func TestCompletionIsQuick(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"away": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"slow": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				answer(w, r)
			}))
			t.Cleanup(server.Close)
			t.Setenv("GRAF_URL", server.URL)
			t.Setenv("GRAF_TOKEN", "x")
			s, out := plain("")
			if status := run(t, s, "__complete", "get", ""); status != 0 || asked.Load() != 1 {
				t.Errorf("status %d, asked %d times: %s", status, asked.Load(), out)
			}
		})
	}
}

// A context is completed once.
func TestContextsAreCompleted(t *testing.T) {
	file, _ := answering(t, nil)
	t.Setenv("GRAF_CONFIG", file)
	for line, want := range map[string]bool{"": true, "here ": false} {
		s, out := plain("")
		if status := run(t, s, append([]string{"__complete", "contexts"}, strings.Split(line, " ")...)...); status != 0 {
			t.Errorf("status %d: %s", status, out)
		}
		if strings.HasPrefix(out.String(), "here\n") != want {
			t.Errorf("contexts %scompletes %s", line, out)
		}
	}
}
