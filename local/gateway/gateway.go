// Package gateway gives the three HTTP functions one base URL on one machine, as
// an HTTPRoute does on a cluster. It adds nothing and takes nothing away:
// authentication, limits and answers are the functions' own.
package gateway

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// Functions are the base URLs of the functions that serve the HTTP API.
type Functions struct {
	Submit, Callback, Memory string
}

// New makes the handler that sends each path to the function that serves it.
func New(functions Functions, log *slog.Logger) (http.Handler, error) {
	mux := http.NewServeMux()
	for _, route := range []struct {
		target   string
		patterns []string
	}{
		{functions.Submit, []string{
			"/v1/codex/tasks", "/v1/codex/tasks/{taskId}", "/v1/codex/tasks/{taskId}/cancel",
			"/v1/codex/tasks/{taskId}/retry", "/v1/codex/tasks/{taskId}/undo",
			"/v1/codex/tasks/{taskId}/approvals/{approvalId}", "/v1/codex/policy/explain",
			"/v1/codex/dead-letters", "/v1/codex/dead-letters/{deadLetterId}", "/v1/codex/dead-letters/{deadLetterId}/replay",
		}},
		{functions.Callback, []string{
			"/v1/codex/tasks/{taskId}/events", "/v1/codex/tasks/{taskId}/actions",
			"/v1/codex/tasks/{taskId}/artifacts/{artifactId}/parts", "/v1/codex/tasks/{taskId}/artifacts/{artifactId}/complete",
		}},
		{functions.Memory, []string{
			"/v1/codex/tasks/{taskId}/memory", "/v1/codex/tasks/{taskId}/memory/query", "/v1/codex/tasks/{taskId}/mcp",
			"/v1/codex/memory/query", "/v1/codex/memory/{memoryId}",
		}},
	} {
		target, err := url.Parse(route.target)
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		proxy := newProxy(target, log)
		for _, pattern := range route.patterns {
			mux.Handle(pattern, proxy)
		}
	}
	return mux, nil
}

func newProxy(target *url.URL, log *slog.Logger) http.Handler {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second}
	return &httputil.ReverseProxy{
		Transport: transport,
		// Events of a live stream are passed on as they come.
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.Warn("function does not answer", "path", r.URL.Path, "error", err)
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"type":"urn:graf:problem:unavailable","title":"Unavailable","status":503,` +
				`"detail":"The function does not answer; it may be starting. Try again in a moment."}` + "\n"))
		},
	}
}
