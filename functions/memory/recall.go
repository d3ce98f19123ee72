package memory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// Model makes vectors; *embedding.Client is the real one.
type Model interface {
	Model() string
	Dimension() int
	Embed(ctx context.Context, texts []string) ([][]float32, error)
}

// Recaller finds what earlier tasks learned.
type Recaller struct {
	pool  *pgxpool.Pool
	model Model
	// wait bounds the making of a query's vector.
	wait time.Duration
}

// ByPrompt searches for what fits the prompt of task, with the vector that the
// embed function made of it. q has the filters. It fails with
// problem.ErrNotFound.
func (r *Recaller) ByPrompt(ctx context.Context, task uuid.UUID, q memory.Query) (memory.Results, error) {
	row, err := query.New(r.pool).GetTask(ctx, task)
	if err != nil {
		return memory.Results{}, taskError(task, err)
	}
	q.Text = row.Prompt
	reason := ""
	vector, err := query.New(r.pool).GetPromptVector(ctx, r.model.Model(), int32(r.model.Dimension()), task) //nolint:gosec // a dimension is at most 4,000
	switch {
	case err == nil:
		q.Vector = vector.Slice()
	case errors.Is(err, pgx.ErrNoRows):
		reason = "the prompt has no vector by " + r.model.Model() + " yet"
	default:
		return memory.Results{}, fmt.Errorf("read the vector of task %s: %w", task, postgres.Classify(err))
	}
	return r.search(ctx, q, reason)
}

// ByQuery searches for what fits q's text or vector, for task. A text is given
// its vector here, unless that takes too long. It fails with
// problem.ErrNotFound, and with problem.ErrInvalid for a bad vector.
func (r *Recaller) ByQuery(ctx context.Context, task uuid.UUID, q memory.Query) (memory.Results, error) {
	if _, err := query.New(r.pool).GetTask(ctx, task); err != nil {
		return memory.Results{}, taskError(task, err)
	}
	return r.Search(ctx, q)
}

// Search is ByQuery for no task in particular. It fails with problem.ErrInvalid
// for a bad vector.
func (r *Recaller) Search(ctx context.Context, q memory.Query) (memory.Results, error) {
	reason := ""
	if q.Vector == nil {
		q.Vector, reason = r.embed(ctx, q.Text)
	}
	return r.search(ctx, q, reason)
}

// embed is text's vector; without one it says why.
func (r *Recaller) embed(ctx context.Context, text string) ([]float32, string) {
	ctx, cancel := context.WithTimeout(ctx, r.wait)
	defer cancel()
	vectors, err := r.model.Embed(ctx, []string{text})
	if err == nil {
		return vectors[0], ""
	}
	// What the provider said is for the log: it may name an account.
	slog.WarnContext(ctx, "query searched for by text alone", "model", r.model.Model(), "error", err)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Sprintf("the embedding model did not answer within %s", r.wait)
	}
	return nil, "the embedding model gave the text no vector"
}

// search runs q and, if it was without a vector, gives reason for it.
func (r *Recaller) search(ctx context.Context, q memory.Query, reason string) (memory.Results, error) {
	q.Model, q.Dimension = r.model.Model(), r.model.Dimension()
	results, err := memory.Search(ctx, r.pool, q)
	if err != nil {
		return memory.Results{}, queryError(err)
	}
	if reason != "" {
		results.Reason = reason
	}
	return results, nil
}

func taskError(task uuid.UUID, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.ErrNotFound.With("There is no task %s.", task)
	}
	return fmt.Errorf("read task %s: %w", task, postgres.Classify(err))
}

// queryError tells what is wrong with the client's query from what is wrong
// with us. Limits and texts the OpenAPI document has checked.
func queryError(err error) error {
	if errors.Is(err, memory.ErrDimension) || errors.Is(err, memory.ErrVector) {
		return problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/vector", Detail: err.Error()})
	}
	return err
}
