package memory

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/memory"
)

// queryMemory answers a caller with what fits a text or a vector.
func (h *handler) queryMemory(w http.ResponseWriter, r *http.Request, _ uuid.UUID, _ auth.Holder) error {
	if err := h.validator.Parameters(r, api.OperationQueryMemory, nil); err != nil {
		return err
	}
	var body api.MemorySearch
	if err := h.validator.DecodeBody(r, api.OperationQueryMemory, api.MaxMemoryQueryBytes, &body); err != nil {
		return err
	}
	q := memory.Query{
		Text: body.Text, Vector: body.Vector, Limit: api.DefaultMemoryLimit, Project: body.Project,
		Namespace: body.Namespace, ResourceKind: body.ResourceKind, Tags: body.Tags,
	}
	if body.Limit != nil {
		q.Limit = *body.Limit
	}
	if body.Since != nil {
		q.Since = *body.Since
	}
	for _, kind := range body.Kinds {
		q.OnlyKinds = append(q.OnlyKinds, string(kind))
	}
	results, err := h.recaller.Search(r.Context(), q)
	if err != nil {
		return err
	}
	return answerResults(w, r, results)
}

func (h *handler) getMemory(w http.ResponseWriter, r *http.Request, id uuid.UUID, _ auth.Holder) error {
	if err := h.validator.Parameters(r, api.OperationGetMemory, nil); err != nil {
		return err
	}
	shown, err := h.keeper.Show(r.Context(), id)
	if err != nil {
		return err
	}
	api.Answer(w, r, http.StatusOK, shown)
	return nil
}

func (h *handler) forgetMemory(w http.ResponseWriter, r *http.Request, id uuid.UUID, holder auth.Holder) error {
	if err := h.validator.Parameters(r, api.OperationForgetMemory, nil); err != nil {
		return err
	}
	if err := h.keeper.Forget(r.Context(), id, holder.Name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
