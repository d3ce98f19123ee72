package callback

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/api"
)

const (
	// actionTimeout bounds what a request for actions does in the cluster, without
	// the waiting until it is ready.
	actionTimeout = 60 * time.Second
	// answerTimeout bounds the sending of the answer.
	answerTimeout = 15 * time.Second
)

// postActions carries out what a task asks for in the cluster. The token is looked
// at before the body is read.
func (h *handler) postActions(w http.ResponseWriter, r *http.Request) error {
	reporter, err := h.actingReporter(r)
	if err != nil {
		return err
	}
	leave, err := h.turns.Take(reporter.TaskID)
	if err != nil {
		return err
	}
	defer leave()
	var request api.ActionRequest
	if err := h.validator.DecodeBody(r, api.OperationPostTaskActions, api.MaxActionsBytes, &request); err != nil {
		return err
	}
	wait := time.Duration(request.WaitSeconds) * time.Second
	if wait > 0 {
		done, err := h.turns.Wait(reporter.TaskID) // before anything is done, for it to be refused as a whole
		if err != nil {
			return err
		}
		defer done()
	}
	if err := extendDeadlines(w, actionTimeout+wait+answerTimeout); err != nil {
		return err
	}
	// What has begun is brought to its end, and into the audit, also if the client
	// goes away meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), actionTimeout)
	defer cancel()
	acted, err := h.operator.Act(ctx, reporter, request)
	access.Note(ctx, slog.String("action", string(request.Action)), slog.Int("actions", len(request.Manifests)+len(request.Resources)))
	if err != nil {
		return err
	}
	leave() // Waiting costs little and may be long.
	acted.Await(r.Context(), wait)
	api.Answer(w, r, http.StatusOK, api.ActionResults{Results: acted.Results})
	return nil
}

// actingReporter is who asks, for their own task and not too often.
func (h *handler) actingReporter(r *http.Request) (Reporter, error) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	reporter, err := h.reporter(ctx, r)
	if err != nil {
		return Reporter{}, err
	}
	return reporter, h.validator.Parameters(r, api.OperationPostTaskActions, nil)
}

// extendDeadlines replaces the server's deadlines, which are for ordinary requests.
func extendDeadlines(w http.ResponseWriter, span time.Duration) error {
	control := http.NewResponseController(w)
	// When the read deadline passes, net/http takes the client for gone.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("extend the deadline of a request: %w", err)
	}
	if err := control.SetWriteDeadline(time.Now().Add(span)); err != nil {
		return fmt.Errorf("extend the deadline of a request: %w", err)
	}
	return nil
}
