package submit

import (
	"net/http"

	"github.com/graf-run/graf/shared/api"
)

func (h *handler) cancelTask(w http.ResponseWriter, r *http.Request, caller string) error {
	id, err := api.TaskIDFrom(r)
	if err != nil {
		return err
	}
	if err := h.validator.Parameters(r, api.OperationCancelTask, nil); err != nil {
		return err
	}
	var request api.TaskCancellation
	if err := h.validator.DecodeBody(r, api.OperationCancelTask, api.MaxCancellationBytes, &request); err != nil {
		return err
	}
	status, err := h.canceller.Cancel(r.Context(), id, caller, request.Reason)
	if err != nil {
		return err
	}
	api.Answer(w, r, http.StatusAccepted, api.TaskCancelled{TaskID: id, Status: status})
	return nil
}
