package submit

import (
	"net/http"

	"github.com/graf-run/graf/shared/api"
)

// forOperators lets an operation be called by operators alone.
func (h *handler) forOperators(serve operation) operation {
	return func(w http.ResponseWriter, r *http.Request, caller string) error {
		if err := h.config.Operators.Require(caller); err != nil {
			return err
		}
		return serve(w, r, caller)
	}
}

func (h *handler) listDeadLetters(w http.ResponseWriter, r *http.Request, _ string) error {
	var params api.ListDeadLettersParams
	if err := h.validator.Parameters(r, api.OperationListDeadLetters, &params); err != nil {
		return err
	}
	from, err := parseCursor(params.Cursor)
	if err != nil {
		return err
	}
	page, err := h.letters.List(r.Context(), LetterFilter{
		Type: params.Type, Since: params.Since, Statuses: params.Status, Before: from.Before, Limit: params.Limit,
	})
	if err != nil {
		return err
	}
	api.Answer(w, r, http.StatusOK, page)
	return nil
}

func (h *handler) getDeadLetter(w http.ResponseWriter, r *http.Request, _ string) error {
	id, err := api.IDFrom(r, "deadLetterId")
	if err != nil {
		return err
	}
	if err := h.validator.Parameters(r, api.OperationGetDeadLetter, nil); err != nil {
		return err
	}
	letter, err := h.letters.Get(r.Context(), id)
	if err != nil {
		return err
	}
	api.Answer(w, r, http.StatusOK, letter)
	return nil
}

func (h *handler) replayDeadLetter(w http.ResponseWriter, r *http.Request, caller string) error {
	id, err := api.IDFrom(r, "deadLetterId")
	if err != nil {
		return err
	}
	if err := h.validator.Parameters(r, api.OperationReplayLetter, nil); err != nil {
		return err
	}
	letter, err := h.letters.Replay(r.Context(), id, caller)
	if err != nil {
		return err
	}
	api.Answer(w, r, http.StatusAccepted, letter)
	return nil
}
