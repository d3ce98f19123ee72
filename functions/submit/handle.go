package submit

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/problem"
)

// requestTimeout bounds a request, all but the sending of its body.
const requestTimeout = 15 * time.Second

// handler serves the function's HTTP API and its events.
type handler struct {
	config    Config
	validator *api.Validator
	rate      *limiter.Rate
	log       *slog.Logger
	submitter *Submitter
	canceller *Canceller
	approver  *Approver
	undoer    *Undoer
	policy    *policy.Store
	reader    *Reader
	retrier   *Retrier
	letters   *DeadLetters
}

// operation serves one operation of the OpenAPI document for a caller that is
// known and within its rate.
type operation func(w http.ResponseWriter, r *http.Request, caller string) error

func (h *handler) routes() http.Handler {
	mux := h.validator.Routes(map[string]http.Handler{
		api.OperationSubmitTask:      h.guard(h.submitTask),
		api.OperationListTasks:       h.guard(h.listTasks),
		api.OperationGetTask:         h.guard(h.getTask),
		api.OperationCancelTask:      h.guard(h.cancelTask),
		api.OperationDecideApproval:  h.guard(h.decideApproval),
		api.OperationUndoTask:        h.guard(h.undoTask),
		api.OperationExplainPolicy:   h.guard(h.explainPolicy),
		api.OperationRetryTask:       h.guard(h.retryTask),
		api.OperationListDeadLetters: h.guard(h.forOperators(h.listDeadLetters)),
		api.OperationGetDeadLetter:   h.guard(h.forOperators(h.getDeadLetter)),
		api.OperationReplayLetter:    h.guard(h.forOperators(h.replayDeadLetter)),
	})
	receiver := delivery.NewReceiver(map[string]delivery.HandlerFunc{event.TypeTaskRequested: h.taskRequested})
	mux.Handle("POST /{$}", receiver)
	mux.Handle("/{$}", api.MethodNotAllowed(http.MethodPost))
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
	if err := h.enabled(); err != nil {
		return err
	}
	caller, err := h.config.Callers.Authenticate(r)
	if err != nil {
		return err
	}
	access.Note(r.Context(), slog.String("caller", caller.Name))
	if err := h.rate.Admit(r.Context(), caller.Name); err != nil {
		return err
	}
	return serve(w, r, caller.Name)
}

func (h *handler) enabled() error {
	if h.config.Enabled {
		return nil
	}
	return problem.ErrUnavailable.With("Codex tasks are switched off here (GRAF_CODEX_TASKS_ENABLED=false).")
}
