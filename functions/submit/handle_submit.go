package submit

import (
	"log/slog"
	"net/http"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/problem"
)

const tasksPath = "/v1/codex/tasks/"

func (h *handler) submitTask(w http.ResponseWriter, r *http.Request, caller string) error {
	var params api.SubmitTaskParams
	if err := h.validator.Parameters(r, api.OperationSubmitTask, &params); err != nil {
		return err
	}
	var request api.TaskSubmission
	if err := h.validator.DecodeBody(r, api.OperationSubmitTask, api.MaxSubmissionBytes, &request); err != nil {
		return err
	}
	key, err := idempotencyKey(params.IdempotencyKey, request.IdempotencyKey)
	if err != nil {
		return err
	}
	receipt, err := h.submitter.Submit(r.Context(), Submission{Caller: caller, Key: key, Request: request, IssueToken: true})
	if err != nil {
		return err
	}
	h.answerCreated(w, r, receipt)
	return nil
}

// answerCreated answers with the task that was made, now or when its key was used first.
func (h *handler) answerCreated(w http.ResponseWriter, r *http.Request, receipt Receipt) {
	access.Note(r.Context(), slog.String("taskId", receipt.TaskID.String()))
	status := http.StatusCreated
	if receipt.Repeated {
		status = http.StatusOK
	}
	w.Header().Set("Location", tasksPath+receipt.TaskID.String())
	api.Answer(w, r, status, h.created(receipt))
}

// idempotencyKey is the key that stands in the header, in the body or, the
// same, in both.
func idempotencyKey(header, body string) (string, error) {
	if header == "" {
		return body, nil
	}
	if body != "" && body != header {
		return "", problem.ErrInvalid.Fields(problem.FieldError{Pointer: pointerKey,
			Detail: "is not the key in the Idempotency-Key header: send one of them, or the same in both"})
	}
	return header, nil
}

func (h *handler) created(receipt Receipt) api.TaskCreated {
	return api.TaskCreated{
		TaskID: receipt.TaskID, RetryOf: receipt.RetryOf, Status: receipt.Status, CreatedAt: receipt.CreatedAt.UTC(),
		Callback:       api.Callback{URL: taskURL(h.config.CallbackBaseURL, receipt.TaskID, "events"), Token: receipt.Token},
		MemoryEndpoint: api.MemoryEndpoint{URL: taskURL(h.config.MemoryBaseURL, receipt.TaskID, "memory")},
	}
}

func taskURL(base string, id uuid.UUID, part string) string {
	return base + tasksPath + id.String() + "/" + part
}
