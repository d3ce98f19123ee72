package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgres/query"
)

// modeNone is the recall mode of a prompt that was given no memories because
// recall is off or failed; the others are memory's.
const modeNone = "none"

// lessons are the kinds of memories that a prompt is given: what was asked, done
// and learned. Whole manifests, which are remembered too, would crowd them out.
var lessons = []string{memory.KindOutcome, memory.KindDiff, memory.KindEvent, memory.KindPrompt}

// recaller finds the memories for a task's prompt.
type recaller struct {
	pool      *pgxpool.Pool
	config    RecallConfig
	model     string
	dimension int
}

// recalled is what a prompt is given, and how it was found.
type recalled struct {
	hits   []memory.Hit
	mode   string
	reason string
}

// recall finds what earlier tasks taught about what the prompt asks for. It
// never fails a launch: whatever is wrong, the task goes on with less and says so.
func (r recaller) recall(ctx context.Context, task query.Task) recalled {
	if !r.config.Enabled || r.config.Limit == 0 {
		return recalled{mode: modeNone, reason: "recall is switched off"}
	}
	vector, reason := r.promptVector(ctx, task.ID)
	results, err := memory.Search(ctx, r.pool, memory.Query{
		Text: task.Prompt, Vector: vector, Model: r.model, Dimension: r.dimension,
		Limit: r.config.Limit, ExcludeTask: &task.ID, OnlyKinds: lessons,
	})
	if err != nil {
		slog.WarnContext(ctx, "recall failed", "task", task.ID, "error", err)
		return recalled{mode: modeNone, reason: "the search of memories failed"}
	}
	if vector != nil {
		reason = results.Reason
	}
	return recalled{hits: memory.Fit(r.withRetried(ctx, task, results.Hits), r.config.Bytes), mode: results.Mode, reason: reason}
}

// withRetried puts first what came of the task that this one runs again, whatever else fits better.
func (r recaller) withRetried(ctx context.Context, task query.Task, hits []memory.Hit) []memory.Hit {
	if task.RetryOf == nil {
		return hits
	}
	row, err := query.New(r.pool).GetLastOutcome(ctx, *task.RetryOf)
	if errors.Is(err, pgx.ErrNoRows) { // It ended before it ran.
		return hits
	}
	if err != nil {
		slog.WarnContext(ctx, "the outcome of the task that is run again was not read", "task", task.ID, "error", err)
		return hits
	}
	hits = slices.DeleteFunc(hits, func(h memory.Hit) bool { return h.MemoryID == row.ID })
	first := memory.Hit{
		MemoryID: row.ID, TaskID: row.TaskID, Kind: row.Kind, Score: 1, Content: row.Content,
		Metadata: row.Metadata, CreatedAt: row.CreatedAt,
	}
	return slices.Insert(hits[:min(len(hits), r.config.Limit-1)], 0, first)
}

// promptVector waits, for a bounded moment, until the embed function has made
// the vector of the prompt. Without one it says why.
func (r recaller) promptVector(ctx context.Context, task uuid.UUID) ([]float32, string) {
	deadline := time.Now().Add(r.config.Wait)
	dimension := int32(r.dimension) //nolint:gosec // embedding.Config.Vectors gives at most embedding.MaxDimension
	for pause := 4 * time.Millisecond; ; pause = min(pause*3/2, 100*time.Millisecond) {
		vector, err := query.New(r.pool).GetPromptVector(ctx, r.model, dimension, task)
		switch {
		case err == nil:
			return vector.Slice(), ""
		case !errors.Is(err, pgx.ErrNoRows):
			return nil, "the prompt's vector could not be read"
		case time.Now().Add(pause).After(deadline):
			return nil, fmt.Sprintf("the prompt's vector was not there within %s", r.config.Wait)
		}
		select {
		case <-ctx.Done():
			return nil, "the launch ran out of time"
		case <-time.After(pause):
		}
	}
}
