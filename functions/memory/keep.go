package memory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// Keeper shows single memories and forgets them.
type Keeper struct {
	pool      *pgxpool.Pool
	operators auth.Operators
	log       *slog.Logger
}

// Show is one memory with where it comes from. It fails with
// problem.ErrNotFound, also for one that is forgotten.
func (k *Keeper) Show(ctx context.Context, id uuid.UUID) (api.Memory, error) {
	row, err := query.New(k.pool).GetMemory(ctx, id)
	if err != nil {
		return api.Memory{}, memoryError(id, err)
	}
	shown := api.Memory{
		MemoryID: row.ID, Content: row.Content, Caller: row.Caller, Project: row.Project, Ordinal: row.Ordinal,
		Source:     api.MemorySource{TaskID: row.TaskID, Kind: api.MemoryKind(row.Kind)},
		Namespaces: row.Namespaces, ResourceKinds: row.ResourceKinds, Tags: row.Tags,
		Recalls: row.Recalls, CreatedAt: row.CreatedAt.UTC(), Embedding: api.EmbeddingStateReady,
	}
	if row.EmbeddedAs == nil {
		shown.Embedding = api.EmbeddingStatePending
		if row.EmbeddingError != nil {
			shown.Embedding = api.EmbeddingStateFailed
		}
	}
	if err := json.Unmarshal(row.Metadata, &shown.Metadata); err != nil {
		return api.Memory{}, fmt.Errorf("metadata of memory %s: %w", id, err)
	}
	return shown, nil
}

// Forget takes a memory out of every search and recall, for good: its row stays,
// so that no later writing of the same brings it back. Again, it changes nothing.
// It fails with problem.ErrNotFound, and with problem.ErrForbidden unless caller
// submitted the task or is an operator.
func (k *Keeper) Forget(ctx context.Context, id uuid.UUID, caller string) error {
	return postgres.Transact(ctx, k.pool, func(tx pgx.Tx) error {
		q := query.New(tx)
		row, err := q.LockMemory(ctx, id)
		if err != nil {
			return memoryError(id, err)
		}
		if row.Caller != caller && !k.operators.Has(caller) {
			return problem.ErrForbidden.With(
				"Memory %s is of a task of caller %s, who alone may have it forgotten, beside operators (GRAF_OPERATORS).", id, row.Caller)
		}
		if row.Forgotten {
			return nil
		}
		if err := q.ForgetMemory(ctx, caller, id); err != nil {
			return fmt.Errorf("forget memory %s: %w", id, err)
		}
		k.log.InfoContext(ctx, "memory forgotten", "memory", id, "by", caller)
		return nil
	})
}

func memoryError(id uuid.UUID, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.ErrNotFound.With("There is no memory %s.", id)
	}
	return fmt.Errorf("read memory %s: %w", id, postgres.Classify(err))
}
