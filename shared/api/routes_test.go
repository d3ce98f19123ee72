package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/graf-run/graf/shared/api"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	validator, err := api.NewValidator()
	if err != nil {
		t.Fatal(err)
	}
	serve := func(status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { api.Answer(w, r, status, r.PathValue("taskId")) })
	}
	routes := validator.Routes(map[string]http.Handler{
		api.OperationSubmitTask: serve(http.StatusAccepted), api.OperationListTasks: serve(http.StatusOK),
		api.OperationCancelTask: serve(http.StatusAccepted),
		api.OperationQueryMemory: serve(http.StatusOK), api.OperationForgetMemory: serve(http.StatusOK),
	})
	for _, test := range []struct {
		method, path string
		status       int
		body, allow  string
	}{
		{http.MethodPost, "/v1/codex/tasks", http.StatusAccepted, "\"\"\n", ""},
		{http.MethodGet, "/v1/codex/tasks", http.StatusOK, "\"\"\n", ""},
		{http.MethodPost, "/v1/codex/tasks/7/cancel", http.StatusAccepted, "\"7\"\n", ""},
		{http.MethodDelete, "/v1/codex/tasks", http.StatusMethodNotAllowed, "", "GET, HEAD, POST"},
		{http.MethodGet, "/v1/codex/tasks/7/cancel", http.StatusMethodNotAllowed, "", "POST"},
		{http.MethodGet, "/v1/codex/tasks/7", http.StatusNotFound, "", ""}, // an operation of another function
		{http.MethodGet, "/", http.StatusNotFound, "", ""},
		// A name among ids.
		{http.MethodPost, "/v1/codex/memory/query", http.StatusOK, "\"\"\n", ""},
		{http.MethodDelete, "/v1/codex/memory/query", http.StatusMethodNotAllowed, "", "POST"},
		{http.MethodDelete, "/v1/codex/memory/7", http.StatusOK, "\"\"\n", ""},
		{http.MethodPost, "/v1/codex/memory/7", http.StatusMethodNotAllowed, "", "DELETE"},
	} {
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), test.method, test.path, nil))
		if w.Code != test.status || w.Header().Get("Allow") != test.allow || (test.body != "" && w.Body.String() != test.body) {
			t.Errorf("%s %s: %d, Allow %q, %q; want %+v", test.method, test.path, w.Code, w.Header().Get("Allow"), w.Body, test)
		}
	}
}
