package submit

import (
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgres/query"
)

// executionOf is what runs an attempt, nil until it is known in full.
func executionOf(row query.ListTaskAttemptsRow) *api.Execution {
	if row.ExecutionName == nil {
		return nil
	}
	return &api.Execution{
		Kind: text(row.ExecutionKind), Name: text(row.ExecutionName),
		Namespace: text(row.ExecutionNamespace), UID: text(row.ExecutionUid),
	}
}

func failureOf(class, reason *string) *api.Failure {
	if class == nil {
		return nil
	}
	return &api.Failure{Class: api.FailureClass(*class), Reason: text(reason)}
}

func diffOf(t query.Task) *api.Diff {
	if t.DiffDigest == nil {
		return nil
	}
	return &api.Diff{Digest: *t.DiffDigest, Summary: text(t.DiffSummary), Unified: text(t.DiffUnified)}
}

// recalled is what the prompts were given.
func recalled(rows []query.ListTaskRecallsRow) []api.RecalledMemory {
	memories := make([]api.RecalledMemory, 0, len(rows))
	for _, row := range rows {
		memories = append(memories, api.RecalledMemory{
			MemoryID: row.MemoryID, Score: float64(row.Score), Snippet: row.Content, Attempt: int(row.Attempt),
			Source: api.MemorySource{TaskID: row.TaskID, Kind: api.MemoryKind(row.Kind)},
		})
	}
	return memories
}

// readiness tells for each part of a task how far its vectors are. What the
// task's end taught counts as its last event.
func readiness(rows []query.CountTaskMemoriesRow) api.EmbeddingReadiness {
	r := api.EmbeddingReadiness{
		Prompt: api.EmbeddingStateNone, Before: api.EmbeddingStateNone, After: api.EmbeddingStateNone,
		Diff: api.EmbeddingStateNone, Events: api.EmbeddingStateNone,
	}
	parts := map[string]*api.EmbeddingState{
		memory.KindPrompt: &r.Prompt, memory.KindBefore: &r.Before, memory.KindAfter: &r.After,
		memory.KindDiff: &r.Diff, memory.KindEvent: &r.Events, memory.KindOutcome: &r.Events,
	}
	for _, row := range rows {
		if part, ok := parts[row.Kind]; ok {
			*part = lessReady(*part, stateOf(row))
		}
	}
	return r
}

func stateOf(row query.CountTaskMemoriesRow) api.EmbeddingState {
	switch {
	case row.Pending > 0:
		return api.EmbeddingStatePending
	case row.Failed > 0:
		return api.EmbeddingStateFailed
	default:
		return api.EmbeddingStateReady
	}
}

// lessReady joins the states of two kinds of memory that are one part.
func lessReady(a, b api.EmbeddingState) api.EmbeddingState {
	for _, state := range []api.EmbeddingState{api.EmbeddingStatePending, api.EmbeddingStateFailed, api.EmbeddingStateReady} {
		if a == state || b == state {
			return state
		}
	}
	return api.EmbeddingStateNone
}

// text is empty for NULL.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
