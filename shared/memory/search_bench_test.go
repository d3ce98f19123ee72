package memory_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgvector/pgvector-go"
	pgxvec "github.com/pgvector/pgvector-go/pgx"

	"github.com/graf-run/graf/shared/embedding"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgrestest"
)

const (
	benchRows        = 100_000
	benchRowsPerTask = 20
	benchModel       = "bench-model"
)

var benchKinds = []string{
	memory.KindPrompt, memory.KindEvent, memory.KindEvent, memory.KindDiff, memory.KindOutcome,
	memory.KindBefore, memory.KindAfter, memory.KindEvent,
}

// BenchmarkSearch searches 100,000 memories with 512-dimension vectors. It
// reports the latency's median and 99th percentile, and the share of the 10
// nearest by exact search that the vector search finds.
//
//	go run ./local/cmd/graf-local services --ephemeral -- \
//	    go test -run '^$' -bench Search -benchtime 1000x ./shared/memory
func BenchmarkSearch(b *testing.B) {
	db := postgrestest.New(b)
	c := newCorpus(1)
	fill(b, db, c)
	queries := make([]memory.Query, 500)
	for i := range queries {
		t := c.topic()
		queries[i] = memory.Query{Text: c.text(t, 40), Vector: c.vector(t), Model: benchModel, Limit: 10}
	}
	for _, bench := range []struct {
		name string
		edit func(memory.Query) memory.Query
	}{
		{"hybrid", func(q memory.Query) memory.Query { return q }},
		{"vector", func(q memory.Query) memory.Query { q.Text = ""; return q }},
		{"text", func(q memory.Query) memory.Query { q.Vector = nil; return q }},
		{"namespace=half", func(q memory.Query) memory.Query { q.Namespace = "half"; return q }},
		{"namespace=tenth", func(q memory.Query) memory.Query { q.Namespace = "tenth"; return q }},
		{"namespace=thousandth", func(q memory.Query) memory.Query { q.Namespace = "thousandth"; return q }},
		{"kinds", func(q memory.Query) memory.Query {
			q.OnlyKinds = []string{memory.KindOutcome, memory.KindDiff}
			return q
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			edited := make([]memory.Query, len(queries))
			for i, q := range queries {
				edited[i] = bench.edit(q)
			}
			measure(b, db, edited)
		})
	}
}

func measure(b *testing.B, db *pgxpool.Pool, queries []memory.Query) {
	for _, q := range queries[:20] {
		search(b, db, q) // a fresh connection plans and reads the catalogue
	}
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		search(b, db, queries[i%len(queries)])
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(milliseconds(took[len(took)/2]), "p50-ms")
	b.ReportMetric(milliseconds(took[len(took)*99/100]), "p99-ms")
	if queries[0].Vector != nil {
		b.ReportMetric(recall(b, db, queries[:100]), "recall@10")
	}
}

func search(b *testing.B, db *pgxpool.Pool, q memory.Query) memory.Results {
	b.Helper()
	results, err := memory.Search(b.Context(), db, q)
	if err != nil {
		b.Fatal(err)
	}
	if len(results.Hits) != q.Limit {
		b.Fatalf("%d hits, want %d", len(results.Hits), q.Limit)
	}
	return results
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// recall is the share of the exact nearest neighbours that the vector part of
// a search finds, over queries.
func recall(b *testing.B, db *pgxpool.Pool, queries []memory.Query) float64 {
	b.Helper()
	found, wanted := 0, 0
	for _, q := range queries {
		exact, err := memory.NearestExact(b.Context(), db, q, 10)
		if err != nil {
			b.Fatal(err)
		}
		approximate, err := memory.Nearest(b.Context(), db, q, 10)
		if err != nil {
			b.Fatal(err)
		}
		wanted += len(exact)
		for _, id := range exact {
			if slices.Contains(approximate, id) {
				found++
			}
		}
	}
	return float64(found) / float64(wanted)
}

// fill copies benchRows memories and their vectors into db.
func fill(b *testing.B, db *pgxpool.Pool, c *corpus) {
	b.Helper()
	ctx := b.Context()
	start := time.Now()
	tasks := make([]uuid.UUID, benchRows/benchRowsPerTask)
	for i := range tasks {
		tasks[i] = newID()
	}
	insertBenchTasks(b, db, tasks)
	vectors, contents := make([][]any, 0, benchRows), make([][]any, 0, benchRows)
	copyRows(ctx, b, db, "codex_task_memory_index",
		[]string{"id", "task_id", "kind", "ordinal", "content_hash", "namespaces", "tags"},
		func(i int) []any {
			t := c.topic()
			text := c.text(t, 30+c.random.IntN(120))
			hash := embedding.ContentHash(text)
			vectors = append(vectors, []any{hash[:], benchModel, corpusDimension, pgvector.NewHalfVector(c.vector(t))})
			contents = append(contents, []any{hash[:], text, benchModel + "@512"})
			task := i / benchRowsPerTask
			return []any{newID(), tasks[task], benchKinds[i%len(benchKinds)], i, hash[:],
				benchNamespaces(task), []string{}}
		})
	copyRows(ctx, b, db, "codex_memory_contents", []string{"content_hash", "content", "embedded_as"},
		func(i int) []any { return contents[i] })
	indexes := dropIndexes(ctx, b, db)
	copyRows(ctx, b, db, "codex_embeddings", []string{"content_hash", "model", "dimension", "embedding"},
		func(i int) []any { return vectors[i] })
	b.Logf("%d rows after %s", benchRows, time.Since(start).Round(time.Second))
	for _, index := range indexes {
		exec(ctx, b, db, index)
	}
	exec(ctx, b, db, "VACUUM ANALYZE codex_embeddings, codex_memory_contents, codex_task_memory_index")
	b.Logf("indexed after %s", time.Since(start).Round(time.Second))
}

func benchNamespaces(task int) []string {
	names := []string{"all"}
	for _, n := range []struct {
		name  string
		every int
	}{{"half", 2}, {"tenth", 10}, {"thousandth", 1000}} {
		if task%n.every == 0 {
			names = append(names, n.name)
		}
	}
	return names
}

func insertBenchTasks(b *testing.B, db *pgxpool.Pool, ids []uuid.UUID) {
	b.Helper()
	exec(b.Context(), b, db, `INSERT INTO codex_tasks
		(id, caller, idempotency_key, request_digest, updated_by, prompt, agent, priority, timeout_seconds, max_attempts)
		SELECT id, 'bench', id::text, '', 'bench', 'p', '{}', 5, 600, 1 FROM unnest($1::uuid[]) AS id`, ids)
}

func copyRows(ctx context.Context, b *testing.B, db *pgxpool.Pool, table string, columns []string, row func(int) []any) {
	b.Helper()
	conn, err := db.Acquire(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	if err := pgxvec.RegisterTypes(ctx, conn.Conn()); err != nil {
		b.Fatal(err)
	}
	_, err = conn.CopyFrom(ctx, pgx.Identifier{table}, columns,
		pgx.CopyFromSlice(benchRows, func(i int) ([]any, error) { return row(i), nil }))
	if err != nil {
		b.Fatal(fmt.Errorf("copy into %s: %w", table, err))
	}
}

// dropIndexes drops the HNSW indexes and returns the statements that make them
// again: to build one takes a fifth of the time of inserting into it.
func dropIndexes(ctx context.Context, b *testing.B, db *pgxpool.Pool) []string {
	b.Helper()
	rows, err := db.Query(ctx, `SELECT indexname, indexdef FROM pg_indexes
		WHERE tablename = 'codex_embeddings' AND indexdef LIKE '%USING hnsw%'`)
	if err != nil {
		b.Fatal(err)
	}
	type index struct{ Name, Definition string }
	indexes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[index])
	if err != nil {
		b.Fatal(err)
	}
	var definitions []string
	for _, index := range indexes {
		exec(ctx, b, db, "DROP INDEX "+index.Name)
		definitions = append(definitions, index.Definition)
	}
	return definitions
}

func exec(ctx context.Context, b *testing.B, db *pgxpool.Pool, sql string, arguments ...any) {
	b.Helper()
	if _, err := db.Exec(ctx, sql, arguments...); err != nil {
		b.Fatal(err)
	}
}
