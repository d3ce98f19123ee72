package memory

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/problem"
)

const (
	// requestTimeout bounds a request, all but the sending of its body.
	requestTimeout = 10 * time.Second
	// mcpTimeout is that of the Model Context Protocol, whose tools may wait for callback
	// and for the cluster. func-go closes connections after 30 s.
	mcpTimeout = 25 * time.Second
)

// handler serves the function's HTTP API.
type handler struct {
	config    Config
	validator *api.Validator
	rate      *limiter.Rate
	tokens    auth.TaskTokens
	recaller  *Recaller
	tasks     *Tasks
	mcp       http.Handler
}

// operation serves one operation of the OpenAPI document, about task, for
// holder, who may and is within their rate.
type operation func(w http.ResponseWriter, r *http.Request, task uuid.UUID, holder auth.Holder) error

func (h *handler) routes() http.Handler {
	return h.validator.Routes(map[string]http.Handler{
		api.OperationListTaskMemory:  h.guard(requestTimeout, h.listTaskMemory),
		api.OperationQueryTaskMemory: h.guard(requestTimeout, h.queryTaskMemory),
		api.OperationPostTaskMCP:     h.guard(mcpTimeout, h.exchangeMCP),
	})
}

// guard lets an operation be called by those who may, as often as they may.
func (h *handler) guard(timeout time.Duration, serve operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		r = r.WithContext(ctx)
		if err := h.serve(w, r, serve); err != nil {
			problem.Write(w, r, err)
		}
	})
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, serve operation) error {
	if !h.config.Enabled {
		return problem.ErrUnavailable.With("Codex memory is switched off here (GRAF_CODEX_MEMORY_ENABLED=false).")
	}
	task, err := api.TaskIDFrom(r)
	if err != nil {
		return err
	}
	holder, err := h.config.Callers.AuthenticateForTask(r, h.tokens, task)
	if err != nil {
		return err
	}
	access.Note(r.Context(), slog.String("caller", holder.Name), slog.String("task", task.String()))
	if err := h.rate.Admit(r.Context(), holder.Name); err != nil {
		return err
	}
	return serve(w, r, task, holder)
}
