package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/pgvector/pgvector-go"
)

const (
	// efSearch is how many of the graph's nodes a scan keeps in view: the
	// trade of recall against time, see BenchmarkSearch.
	efSearch = 100
	// exactBelow is below how many each text, or each memory that passes the
	// filters, is compared. Where few pass, a walk along the graph meets too
	// many that do not, and gives up before it has enough.
	exactBelow = 4000
	// retryBelow is the same for a walk that found fewer than it should have: a
	// crowd of nearly equal vectors can cut others off from the graph.
	retryBelow = 5 * exactBelow
)

// size is about how much a search has to do with.
type size struct {
	// texts is how many there are.
	texts float64
	// passing is how many memories pass the query's filters.
	passing float64
}

// estimate asks the planner, because to count those that pass an unselective
// filter would cost more than the search.
func estimate(ctx context.Context, tx pgx.Tx, q Query) (size, error) {
	arguments := pgx.NamedArgs{}
	var batch pgx.Batch
	batch.Queue("EXPLAIN (FORMAT JSON) SELECT FROM codex_memory_contents")
	batch.Queue("EXPLAIN (FORMAT JSON) SELECT FROM codex_task_memory_index m WHERE "+q.filter(arguments), arguments)
	answers := tx.SendBatch(ctx, &batch)
	var s size
	var err error
	for _, rows := range []*float64{&s.texts, &s.passing} {
		var plan []struct {
			Plan struct {
				Rows float64 `json:"Plan Rows"`
			}
		}
		if err = answers.QueryRow().Scan(&plan); err != nil {
			break
		}
		*rows = plan[0].Plan.Rows
	}
	if err = errors.Join(err, answers.Close()); err != nil {
		return size{}, fmt.Errorf("estimate how many memories pass the filters: %w", err)
	}
	return s, nil
}

// nearest ranks at most limit memories by the cosine of their vector to q's.
func nearest(ctx context.Context, tx pgx.Tx, q Query, s size, limit int) ([]candidate, error) {
	switch {
	case s.texts < exactBelow:
		return nearestOfAll(ctx, tx, q, limit)
	case s.passing < exactBelow:
		return nearestOfPassing(ctx, tx, q, limit)
	}
	found, err := nearestByGraph(ctx, tx, q, limit)
	if err == nil && len(found) < limit && s.passing < retryBelow {
		return nearestOfPassing(ctx, tx, q, limit)
	}
	return found, err
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
	// the statement. The vectors are not in a subselect, which would be planned
	// for all rows.
	found, err := candidates(ctx, tx, fmt.Sprintf(`
		SELECT m.id, m.task_id, c.content_hash, 1 - (c.embedding::halfvec(%[1]d) <=> @vector::halfvec(%[1]d))
		FROM codex_embeddings c
		CROSS JOIN LATERAL (`+newestMemory+`) m
		WHERE c.dimension = %[1]d AND c.model = @model
		ORDER BY c.embedding::halfvec(%[1]d) <=> @vector::halfvec(%[1]d)
		LIMIT %[3]d`, q.Dimension, q.filter(arguments), limit), arguments, byVector)
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(b.similarity, a.similarity) })
	return found, err
}

// nearestOfAll compares q's vector with that of every text, whose memories are
// looked at in the order of their similarity until enough pass the filters.
func nearestOfAll(ctx context.Context, tx pgx.Tx, q Query, limit int) ([]candidate, error) {
	arguments := q.vectorArguments()
	// In one piece, or the planner could put the graph back in.
	return candidates(ctx, tx, fmt.Sprintf(`
		WITH compared AS MATERIALIZED (
		    SELECT e.content_hash, 1 - (e.embedding::halfvec(%[1]d) <=> @vector::halfvec(%[1]d)) AS similarity
		    FROM codex_embeddings e
		    WHERE e.dimension = %[1]d AND e.model = @model)
		SELECT m.id, m.task_id, c.content_hash, c.similarity
		FROM (SELECT * FROM compared ORDER BY similarity DESC, content_hash) c
		CROSS JOIN LATERAL (`+newestMemory+`) m
		ORDER BY c.similarity DESC, c.content_hash
		LIMIT %[3]d`, q.Dimension, q.filter(arguments), limit), arguments, byVector)
}

// newestMemory is, in a statement that is formatted with the filter as its
// second value, the memory that stands for the text c: one text may be many
// tasks'.
const newestMemory = `
		    SELECT m.id, m.task_id FROM codex_task_memory_index m
		    WHERE m.content_hash = c.content_hash AND %[2]s
		    ORDER BY m.id DESC LIMIT 1`

// nearestOfPassing compares q's vector with that of every memory that passes the
// filters.
func nearestOfPassing(ctx context.Context, tx pgx.Tx, q Query, limit int) ([]candidate, error) {
	arguments := q.vectorArguments()
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
