package callback

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/problem"
)

// requestTimeout bounds a request, all but the sending of its body. Event
// streams are bounded otherwise, see [StreamConfig], and actions, see
// actionTimeout.
const requestTimeout = 15 * time.Second

// handler serves the function's HTTP API.
type handler struct {
	config    Config
	validator *api.Validator
	rate      *limiter.Rate
	log       *slog.Logger
	reporters *Reporters
	recorder  *Recorder
	uploads   presigner
	parts     *Parts
	reader    *Reader
	listener  *Listener
	turns     *Turns
	operator  *Operator
	shutdown  sync.Once
}

func (h *handler) routes() http.Handler {
	return h.validator.Routes(map[string]http.Handler{
		api.OperationPostTaskEvents:   h.guard(h.postEvents),
		api.OperationListTaskEvents:   h.guard(h.showEvents),
		api.OperationPostTaskActions:  h.guard(h.postActions),
		api.OperationUploadParts:      h.guard(h.postParts),
		api.OperationCompleteArtifact: h.guard(h.completeArtifact),
	})
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
	return h.rate.Admit(r.Context(), caller.Name)
}
