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

// requestTimeout bounds a request, all but the sending of its body.
const requestTimeout = 10 * time.Second

// handler serves the function's HTTP API.
type handler struct {
	config    Config
	validator *api.Validator
	rate      *limiter.Rate
	tokens    auth.TaskTokens
	recaller  *Recaller
	keeper    *Keeper
}

// operation serves one operation of the OpenAPI document for someone who may and
// is within their rate. id is what the path names: a task or a memory; caller the
// holder's name.
type operation func(w http.ResponseWriter, r *http.Request, id uuid.UUID, caller string) error

// authenticator tells who sends a request, and what its path names.
type authenticator func(r *http.Request) (id uuid.UUID, caller string, err error)

func (h *handler) routes() http.Handler {
	return h.validator.Routes(map[string]http.Handler{
		api.OperationListTaskMemory:  h.guard(h.forTask, h.listTaskMemory),
		api.OperationQueryTaskMemory: h.guard(h.forTask, h.queryTaskMemory),
		api.OperationQueryMemory:     h.guard(h.forCaller, h.queryMemory),
		api.OperationGetMemory:       h.guard(h.forCaller, h.getMemory),
		api.OperationForgetMemory:    h.guard(h.forCaller, h.forgetMemory),
	})
}

// guard lets an operation be called by those who may, as often as they may.
func (h *handler) guard(authenticate authenticator, serve operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
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
	id, caller, err := authenticate(r)
	if err != nil {
		return err
	}
	access.Note(r.Context(), slog.String("caller", caller))
	if err := h.rate.Admit(r.Context(), caller); err != nil {
		return err
	}
	return serve(w, r, id, caller)
}

// forTask takes a caller's token or that of the task that the path names.
func (h *handler) forTask(r *http.Request) (uuid.UUID, string, error) {
	task, err := api.TaskIDFrom(r)
	if err != nil {
		return uuid.Nil, "", err
	}
	holder, err := h.config.Callers.AuthenticateForTask(r, h.tokens, task)
	if err != nil {
		return uuid.Nil, "", err
	}
	access.Note(r.Context(), slog.String("task", task.String()))
	return task, holder.Name, nil
}

// forCaller takes a caller's token; the path may name a memory.
func (h *handler) forCaller(r *http.Request) (uuid.UUID, string, error) {
	caller, err := h.config.Callers.Authenticate(r)
	if err != nil || r.PathValue("memoryId") == "" {
		return uuid.Nil, caller.Name, err
	}
	memory, err := api.IDFrom(r, "memoryId")
	access.Note(r.Context(), slog.String("memory", memory.String()))
	return memory, caller.Name, err
}
