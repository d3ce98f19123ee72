package memory

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/memory"
)

// listTaskMemory answers with what fits the task's own prompt.
func (h *handler) listTaskMemory(w http.ResponseWriter, r *http.Request, task uuid.UUID, _ auth.Holder) error {
	var params api.ListTaskMemoryParams
	if err := h.validator.Parameters(r, api.OperationListTaskMemory, &params); err != nil {
		return err
	}
	results, err := h.recaller.ByPrompt(r.Context(), task, memory.Query{
		Limit: params.Limit, Namespace: params.Namespace, ResourceKind: params.ResourceKind,
		ExcludeTask: excluded(task, params.IncludeOwn),
	})
	if err != nil {
		return err
	}
	return answerResults(w, r, results)
}

// queryTaskMemory answers with what fits a text or a vector.
func (h *handler) queryTaskMemory(w http.ResponseWriter, r *http.Request, task uuid.UUID, _ auth.Holder) error {
	if err := h.validator.Parameters(r, api.OperationQueryTaskMemory, nil); err != nil {
		return err
	}
	var body api.MemoryQuery
	if err := h.validator.DecodeBody(r, api.OperationQueryTaskMemory, api.MaxMemoryQueryBytes, &body); err != nil {
		return err
	}
	results, err := h.recaller.ByQuery(r.Context(), task, queryOf(task, body))
	if err != nil {
		return err
	}
	return answerResults(w, r, results)
}

// queryOf is a query of the API as one of package memory, for task.
func queryOf(task uuid.UUID, body api.MemoryQuery) memory.Query {
	limit := api.DefaultMemoryLimit
	if body.Limit != nil {
		limit = *body.Limit
	}
	return memory.Query{
		Text: body.Text, Vector: body.Vector, Limit: limit,
		Namespace: body.Namespace, ResourceKind: body.ResourceKind, Tags: body.Tags,
		ExcludeTask: excluded(task, body.IncludeOwn),
	}
}

// excluded is the task whose memories are left out, nil if none is.
func excluded(task uuid.UUID, includeOwn bool) *uuid.UUID {
	if includeOwn {
		return nil
	}
	return &task
}

func answerResults(w http.ResponseWriter, r *http.Request, results memory.Results) error {
	body := api.MemoryResults{
		Results: make([]api.MemoryResult, len(results.Hits)),
		Recall:  api.Recall{Mode: api.RecallMode(results.Mode), Reason: results.Reason},
	}
	for i, hit := range results.Hits {
		body.Results[i] = api.MemoryResult{
			MemoryID: hit.MemoryID, Score: hit.Score, Snippet: hit.Snippet, CreatedAt: hit.CreatedAt,
			Source: api.MemorySource{TaskID: hit.TaskID, Kind: api.MemoryKind(hit.Kind)},
		}
		if err := json.Unmarshal(hit.Metadata, &body.Results[i].Metadata); err != nil {
			return fmt.Errorf("metadata of memory %s: %w", hit.MemoryID, err)
		}
	}
	api.Answer(w, r, http.StatusOK, body)
	return nil
}
