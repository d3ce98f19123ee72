package memory

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/postgres"
)

// Search finds the memories that fit q best: the nearest by vector and the
// best by full text, fused by rank, identical texts once, and no task's
// memories crowding out those of others. Errors of q itself are ErrEmptyQuery,
// ErrDimension, ErrVector and ErrLimit; any other is the database's, among them
// problem.ErrUnavailable while that is away.
func Search(ctx context.Context, db *pgxpool.Pool, q Query) (Results, error) {
	q, err := q.checked()
	if err != nil {
		return Results{}, err
	}
	var results Results
	err = pgx.BeginTxFunc(ctx, db, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		results, err = search(ctx, tx, q)
		return err
	})
	if err != nil {
		return Results{}, fmt.Errorf("search memory: %w", postgres.Classify(err))
	}
	return results, nil
}

func search(ctx context.Context, tx pgx.Tx, q Query) (Results, error) {
	results := Results{Mode: ModeHybrid}
	// Deduplication and the bound on a task's share drop some of the pool.
	pool := max(minPool, poolPerHit*q.Limit)
	size, err := estimate(ctx, tx, q)
	if err != nil {
		return Results{}, err
	}
	var rankings [][]candidate
	var words []term
	if q.Vector != nil {
		ranking, err := nearest(ctx, tx, q, size, pool)
		if err != nil {
			return Results{}, fmt.Errorf("by vector: %w", err)
		}
		rankings = append(rankings, ranking)
	} else {
		results.Mode, results.Reason = ModeTextOnly, "the query had no vector"
	}
	if q.Text != "" {
		var ranking []candidate
		var err error
		if words, err = queryTerms(ctx, tx, q.Text); err == nil {
			ranking, err = matching(ctx, tx, q, words, size, pool)
		}
		if err != nil {
			return Results{}, fmt.Errorf("by text: %w", err)
		}
		rankings = append(rankings, ranking)
	} else {
		results.Reason = "the query had no text: found by vector alone"
	}
	results.Hits, err = load(ctx, tx, fuse(rankings, q.Limit), words)
	return results, err
}

const (
	minPool    = 50
	poolPerHit = 4
)

// load reads what hits show.
func load(ctx context.Context, tx pgx.Tx, found []candidate, words []term) ([]Hit, error) {
	ids := make([][16]byte, len(found))
	hits := make([]Hit, len(found))
	for i, c := range found {
		ids[i] = c.id
		hits[i] = Hit{
			MemoryID: c.id, TaskID: c.task, Score: c.score,
			Similarity: c.similarity, TextMatch: c.textMatch,
		}
	}
	rows, err := tx.Query(ctx, `
		SELECT wanted.position, m.kind, c.content, m.metadata, m.created_at
		FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, position)
		JOIN codex_task_memory_index m ON m.id = wanted.id
		JOIN codex_memory_contents c ON c.content_hash = m.content_hash`, ids)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var position int64
		var h Hit
		if err := rows.Scan(&position, &h.Kind, &h.Content, &h.Metadata, &h.CreatedAt); err != nil {
			return nil, err
		}
		hit := &hits[position-1]
		hit.Kind, hit.Content, hit.Metadata, hit.CreatedAt = h.Kind, h.Content, h.Metadata, h.CreatedAt
		hit.Snippet = snippet(h.Content, words)
	}
	return hits, rows.Err()
}
