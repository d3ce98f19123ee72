package memory

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Nearest is the vector part of a search.
func Nearest(ctx context.Context, db *pgxpool.Pool, q Query, limit int) ([]uuid.UUID, error) {
	return ids(ctx, db, q, limit, func(ctx context.Context, tx pgx.Tx, q Query, limit int) ([]candidate, error) {
		size, err := estimate(ctx, tx, q)
		if err != nil {
			return nil, err
		}
		return nearest(ctx, tx, q, size, limit)
	})
}

// NearestByGraph is Nearest where many memories pass the filters.
func NearestByGraph(ctx context.Context, db *pgxpool.Pool, q Query, limit int) ([]uuid.UUID, error) {
	return ids(ctx, db, q, limit, nearestByGraph)
}

// NearestExact is Nearest where few do.
func NearestExact(ctx context.Context, db *pgxpool.Pool, q Query, limit int) ([]uuid.UUID, error) {
	return ids(ctx, db, q, limit, nearestOfPassing)
}

// NearestOfAll is Nearest where there are few texts.
func NearestOfAll(ctx context.Context, db *pgxpool.Pool, q Query, limit int) ([]uuid.UUID, error) {
	return ids(ctx, db, q, limit, nearestOfAll)
}

func ids(ctx context.Context, db *pgxpool.Pool, q Query, limit int,
	rank func(context.Context, pgx.Tx, Query, int) ([]candidate, error),
) ([]uuid.UUID, error) {
	q, err := q.checked()
	if err != nil {
		return nil, err
	}
	var found []uuid.UUID
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		ranked, err := rank(ctx, tx, q, max(minPool, poolPerHit*limit))
		for _, c := range fuse([][]candidate{ranked}, len(ranked))[:min(limit, len(ranked))] {
			found = append(found, c.id)
		}
		return err
	})
	return found, err
}
