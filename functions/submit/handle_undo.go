package submit

import (
	"net/http"

	"github.com/graf-run/graf/shared/api"
)

func (h *handler) undoTask(w http.ResponseWriter, r *http.Request, caller string) error {
	id, err := api.TaskIDFrom(r)
	if err != nil {
		return err
	}
	if err := h.validator.Parameters(r, api.OperationUndoTask, nil); err != nil {
		return err
	}
	var request api.UndoRequest
	if err := h.validator.DecodeBody(r, api.OperationUndoTask, api.MaxCancellationBytes, &request); err != nil {
		return err
	}
	undo, err := h.undoer.Request(r.Context(), id, caller, request.DryRun)
	if err != nil {
		return err
	}
	if undo, err = h.undoer.Await(r.Context(), undo); err != nil {
		return err
	}
	status := http.StatusOK
	if undo.Status == api.UndoStatusRequested {
		status = http.StatusAccepted
	}
	api.Answer(w, r, status, undo)
	return nil
}
