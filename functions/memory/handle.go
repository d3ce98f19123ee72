package memory

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
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

// rateTimeout bounds the look at the rate limit. Redis answers in well under a
// millisecond or is in trouble, and then must not hold requests up.
const rateTimeout = 250 * time.Millisecond

// handler serves the function's HTTP API.
type handler struct {
	config    Config
	validator *api.Validator
	rate      *limiter.Rate
	tokens    auth.TaskTokens
	log       *slog.Logger
	recaller  *Recaller
}

// operation serves one operation of the OpenAPI document, about task, for
// someone who may and is within their rate.
type operation func(w http.ResponseWriter, r *http.Request, task uuid.UUID) error

func (h *handler) routes() http.Handler {
	mux := http.NewServeMux()
	for id, serve := range map[string]operation{
		api.OperationListTaskMemory:  h.listTaskMemory,
		api.OperationQueryTaskMemory: h.queryTaskMemory,
	} {
		pattern := h.validator.Pattern(id)
		mux.Handle(pattern, h.guard(serve))
		method, path, _ := strings.Cut(pattern, " ")
		mux.Handle(path, methodNotAllowed(method))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem.Write(w, r, problem.ErrNotFound.With("There is nothing at this path."))
	})
	return mux
}

// guard lets an operation be called by those who may, as often as they may.
func (h *handler) guard(serve operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
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
	if err := h.allow(r.Context(), holder.Name); err != nil {
		return err
	}
	return serve(w, r, task)
}

// allow counts a call of caller against its rate. Without Redis all may call: a
// lost limit is better than a lost service.
func (h *handler) allow(ctx context.Context, caller string) error {
	ctx, cancel := context.WithTimeout(ctx, rateTimeout)
	defer cancel()
	decision, err := h.rate.Allow(ctx, caller)
	if err != nil {
		h.log.WarnContext(ctx, "call allowed without a look at its rate", "caller", caller, "error", err)
	}
	if !decision.Allowed {
		return problem.ErrRateLimited.With("Caller %s calls too often; wait as Retry-After says.", caller).
			RetryAfter(decision.RetryAfter)
	}
	return nil
}

func methodNotAllowed(allow string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		problem.Write(w, r, problem.ErrMethodNotAllowed.With("This path takes %s.", allow))
	})
}

// answer writes body as JSON. That the client went away is no error.
func answer(w http.ResponseWriter, r *http.Request, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		slog.DebugContext(r.Context(), "the client went away", "error", err)
	}
}
