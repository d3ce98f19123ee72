package submit

import (
	"net/http"

	"github.com/graf-run/graf/shared/api"
)

func (h *handler) retryTask(w http.ResponseWriter, r *http.Request, caller string) error {
	id, err := api.TaskIDFrom(r)
	if err != nil {
		return err
	}
	var params api.RetryTaskParams
	if err := h.validator.Parameters(r, api.OperationRetryTask, &params); err != nil {
		return err
	}
	var request api.TaskRetry
	if err := h.validator.DecodeBody(r, api.OperationRetryTask, api.MaxCancellationBytes, &request); err != nil {
		return err
	}
	key, err := idempotencyKey(params.IdempotencyKey, request.IdempotencyKey)
	if err != nil {
		return err
	}
	receipt, err := h.retrier.Retry(r.Context(), Retry{Task: id, Caller: caller, Key: key, Force: request.Force})
	if err != nil {
		return err
	}
	h.answerCreated(w, r, receipt)
	return nil
}
