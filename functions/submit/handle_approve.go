package submit

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/problem"
)

func (h *handler) decideApproval(w http.ResponseWriter, r *http.Request, caller string) error {
	task, err := api.TaskIDFrom(r)
	if err != nil {
		return err
	}
	approval, err := uuid.Parse(r.PathValue("approvalId"))
	if err != nil {
		return problem.ErrBadRequest.Fields(problem.FieldError{Parameter: "approvalId", Detail: "must be an approval's id, a UUID"})
	}
	if err := h.validator.Parameters(r, api.OperationDecideApproval, nil); err != nil {
		return err
	}
	var decision api.ApprovalDecision
	if err := h.validator.DecodeBody(r, api.OperationDecideApproval, api.MaxCancellationBytes, &decision); err != nil {
		return err
	}
	decided, err := h.approver.Decide(r.Context(), task, approval, caller, decision)
	if err != nil {
		return err
	}
	api.Answer(w, r, http.StatusOK, decided)
	return nil
}
