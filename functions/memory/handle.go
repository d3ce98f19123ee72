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
	keeper    *Keeper
	tasks     *Tasks
	mcp       http.Handler
}

// operation serves one operation of the OpenAPI document for holder, who may and is
// within their rate. id is what the path names: a task or a memory.
type operation func(w http.ResponseWriter, r *http.Request, id uuid.UUID, holder auth.Holder) error

// authenticator tells what the path of a request names, and who sends it.
type authenticator func(r *http.Request) (id uuid.UUID, holder auth.Holder, err error)

func (h *handler) routes() http.Handler {
	return h.validator.Routes(map[string]http.Handler{
		api.OperationListTaskMemory:  h.guard(requestTimeout, h.forTask, h.listTaskMemory),
		api.OperationQueryTaskMemory: h.guard(requestTimeout, h.forTask, h.queryTaskMemory),
		api.OperationPostTaskMCP:     h.guard(mcpTimeout, h.forTask, h.exchangeMCP),
		api.OperationQueryMemory:     h.guard(requestTimeout, h.forCaller, h.queryMemory),
		api.OperationGetMemory:       h.guard(requestTimeout, h.forCaller, h.getMemory),
		api.OperationForgetMemory:    h.guard(requestTimeout, h.forCaller, h.forgetMemory),
	})
}

// guard lets an operation be called by those who may, as often as they may.
func (h *handler) guard(timeout time.Duration, authenticate authenticator, serve operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		r = r.WithContext(ctx)
		if err := h.serve(w, r, authenticate, serve); err != nil {
			problem.Write(w, r, err)
		}
	})
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, authenticate authenticator, serve operation) error {
	if !h.config.Enabled {
		return problem.ErrUnavailable.With("Codex memory is switched off here (GRAF_CODEX_MEMORY_ENABLED=false).")
	}
	id, holder, err := authenticate(r)
	if err != nil {
		return err
	}
	access.Note(r.Context(), slog.String("caller", holder.Name))
	if err := h.rate.Admit(r.Context(), holder.Name); err != nil {
		return err
	}
	return serve(w, r, id, holder)
}

// forTask takes a caller's token or that of the task that the path names.
func (h *handler) forTask(r *http.Request) (uuid.UUID, auth.Holder, error) {
	task, err := api.TaskIDFrom(r)
	if err != nil {
		return uuid.Nil, auth.Holder{}, err
	}
	holder, err := h.config.Callers.AuthenticateForTask(r, h.tokens, task)
	if err != nil {
		return uuid.Nil, auth.Holder{}, err
	}
	access.Note(r.Context(), slog.String("task", task.String()))
	return task, holder, nil
}

// forCaller takes a caller's token; the path may name a memory.
func (h *handler) forCaller(r *http.Request) (uuid.UUID, auth.Holder, error) {
	caller, err := h.config.Callers.Authenticate(r)
	holder := auth.Holder{Name: caller.Name}
	if err != nil || r.PathValue("memoryId") == "" {
		return uuid.Nil, holder, err
	}
	memory, err := api.IDFrom(r, "memoryId")
	access.Note(r.Context(), slog.String("memory", memory.String()))
	return memory, holder, err
}
