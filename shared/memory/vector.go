package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/pgvector/pgvector-go"
)

const (
	// efSearch is how many of the graph's nodes a scan keeps in view: the
	// trade of recall against time, see BenchmarkSearch.
	efSearch = 100
	// exactBelow is below how many memories that pass the filters each of them
	// is compared. Where few pass, a walk along the graph meets too many that
	// do not, and gives up before it has enough.
	exactBelow = 4000
	// retryBelow is the same for a walk that found fewer than it should have: a
	// crowd of nearly equal vectors can cut others off from the graph.
	retryBelow = 5 * exactBelow
)

// nearest ranks at most limit memories by the cosine of their vector to q's.
// passing is about how many memories pass q's filters.
func nearest(ctx context.Context, tx pgx.Tx, q Query, passing float64, limit int) ([]candidate, error) {
	if passing < exactBelow {
		return nearestExactly(ctx, tx, q, limit)
	}
	found, err := nearestByGraph(ctx, tx, q, limit)
	if err == nil && len(found) < limit && passing < retryBelow {
		return nearestExactly(ctx, tx, q, limit)
	}
	return found, err
}

// estimatePassing tells about how many memories pass q's filters. It asks the
// planner, because to count those that pass an unselective filter would cost
// more than the search.
func estimatePassing(ctx context.Context, tx pgx.Tx, q Query) (float64, error) {
	arguments := pgx.NamedArgs{}
	var plan []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	err := tx.QueryRow(ctx, "EXPLAIN (FORMAT JSON) SELECT FROM codex_task_memory_index m WHERE "+q.filter(arguments),
		arguments).Scan(&plan)
	if err != nil {
		return 0, fmt.Errorf("estimate how many memories pass the filters: %w", err)
	}
	return plan[0].Plan.Rows, nil
}

// nearestByGraph walks the HNSW index of q's dimension, on and on until limit
// memories pass the filters (pgvector's iterative scan). Where the dimension
// has no index, it is exact, and as slow as the table is long.
func nearestByGraph(ctx context.Context, tx pgx.Tx, q Query, limit int) ([]candidate, error) {
	// The order may be relaxed, since it is sorted below; more is found so.
	_, err := tx.Exec(ctx, `SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true),
		set_config('hnsw.ef_search', $1, true)`, fmt.Sprint(max(efSearch, limit)))
	if err != nil {
		return nil, fmt.Errorf("set the scan: %w", err)
	}
	arguments := q.vectorArguments()
	// The index is partial and on an expression: the dimension must stand in
	// the statement. One text may be many tasks': the newest stands for it.
	// The vectors are not in a subselect, which would be planned for all rows.
	found, err := candidates(ctx, tx, fmt.Sprintf(`
		SELECT m.id, m.task_id, e.content_hash, 1 - (e.embedding::halfvec(%[1]d) <=> @vector::halfvec(%[1]d))
		FROM codex_embeddings e
		CROSS JOIN LATERAL (
		    SELECT m.id, m.task_id FROM codex_task_memory_index m
		    WHERE m.content_hash = e.content_hash AND %[2]s
		    ORDER BY m.id DESC LIMIT 1) m
		WHERE e.dimension = %[1]d AND e.model = @model
		ORDER BY e.embedding::halfvec(%[1]d) <=> @vector::halfvec(%[1]d)
		LIMIT %[3]d`, q.Dimension, q.filter(arguments), limit), arguments, byVector)
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(b.similarity, a.similarity) })
	return found, err
}

// nearestExactly compares q's vector with that of every memory that passes the
// filters.
func nearestExactly(ctx context.Context, tx pgx.Tx, q Query, limit int) ([]candidate, error) {
	arguments := q.vectorArguments()
	// In one piece, or the planner could put the graph back in.
	return candidates(ctx, tx, fmt.Sprintf(`
		WITH compared AS MATERIALIZED (
		    SELECT DISTINCT ON (m.content_hash) m.id, m.task_id, m.content_hash,
		           1 - (e.embedding::halfvec(%[1]d) <=> @vector::halfvec(%[1]d)) AS similarity
		    FROM codex_task_memory_index m
		    JOIN codex_embeddings e ON e.content_hash = m.content_hash
		    WHERE e.dimension = %[1]d AND e.model = @model AND %[2]s
		    ORDER BY m.content_hash, m.id DESC)
		SELECT id, task_id, content_hash, similarity FROM compared
		ORDER BY similarity DESC, id DESC
		LIMIT %[3]d`, q.Dimension, q.filter(arguments), limit), arguments, byVector)
}

func (q Query) vectorArguments() pgx.NamedArgs {
	return pgx.NamedArgs{"vector": pgvector.NewHalfVector(q.Vector).String(), "model": q.Model}
}

func byVector(c *candidate, value float64) { c.similarity = value }
