package callback

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/problem"
)

// requestTimeout bounds a request, all but the sending of its body. Event
// streams are bounded otherwise, see [StreamConfig].
const requestTimeout = 15 * time.Second

// rateTimeout bounds the look at the rate limit. Redis answers in well under a
// millisecond or is in trouble, and then must not hold requests up.
const rateTimeout = 250 * time.Millisecond

// handler serves the function's HTTP API.
type handler struct {
	config    Config
	validator *api.Validator
	rate      *limiter.Rate
	log       *slog.Logger
	reporters *Reporters
	recorder  *Recorder
	uploads   presigner
	reader    *Reader
	listener  *Listener
	shutdown  sync.Once
}

func (h *handler) routes() http.Handler {
	mux := http.NewServeMux()
	post, get := h.validator.Pattern(api.OperationPostTaskEvents), h.validator.Pattern(api.OperationListTaskEvents)
	mux.Handle(post, h.guard(h.postEvents))
	mux.Handle(get, h.guard(h.showEvents))
	_, path, _ := strings.Cut(post, " ")
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", "GET, HEAD, POST")
		problem.Write(w, r, problem.ErrMethodNotAllowed.With("This path takes GET and POST."))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem.Write(w, r, problem.ErrNotFound.With("There is nothing at this path."))
	})
	return mux
}

// guard turns errors into answers.
func (h *handler) guard(serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.config.Enabled {
			problem.Write(w, r, problem.ErrUnavailable.With("Codex tasks are switched off here (GRAF_CODEX_TASKS_ENABLED=false)."))
			return
		}
		if err := serve(w, r); err != nil {
			problem.Write(w, r, err)
		}
	})
}

// authenticate finds the caller by an API token and counts the call.
func (h *handler) authenticate(r *http.Request) error {
	caller, err := h.config.Callers.Authenticate(r)
	if err != nil {
		return err
	}
	access.Note(r.Context(), slog.String("caller", caller.Name))
	return h.allow(r.Context(), caller.Name)
}

// allow counts a call against the rate of who. Without Redis all may call: a
// lost limit is better than a lost service.
func (h *handler) allow(ctx context.Context, who string) error {
	ctx, cancel := context.WithTimeout(ctx, rateTimeout)
	defer cancel()
	decision, err := h.rate.Allow(ctx, who)
	if err != nil {
		h.log.WarnContext(ctx, "call allowed without a look at its rate", "caller", who, "error", err)
	}
	if !decision.Allowed {
		return problem.ErrRateLimited.With("%s calls too often; wait as Retry-After says.", who).
			RetryAfter(decision.RetryAfter)
	}
	return nil
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
