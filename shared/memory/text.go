package memory

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

const (
	// maxQueryBytes is how much of a query's text is searched for.
	maxQueryBytes = 8 << 10
	// maxTerms is how many of a text's terms are searched for.
	maxTerms = 32
	// maxPostings is how many memories the searched terms may be in, all
	// together: what bounds the time of a search. Terms that are in too many
	// tell the least, so they are the ones left out.
	maxPostings = 3000
	// maxPerTerm bounds one term where the statistics are behind.
	maxPerTerm = 3000
)

// term is a lexeme of the query's text.
type term struct {
	lexeme string
	// position is the place of its first mention.
	position int
	// memories is about how many memories have it.
	memories float64
	// weight is how much it tells: rarer is more, and so is more often said.
	weight float64
	// searched is whether it is searched for, or only shown in snippets.
	searched bool
}

// queryTerms are the terms of text, the heaviest first, with how common they
// are according to the planner's statistics of the fts column. Where there are
// none yet, the table is young and small and every term counts the same.
func queryTerms(ctx context.Context, tx pgx.Tx, text string) ([]term, error) {
	rows, err := tx.Query(ctx, `
		WITH statistics AS MATERIALIZED (
		    SELECT s.most_common_elems::text::text[] AS lexemes, s.most_common_elem_freqs AS frequencies
		    FROM pg_stats s
		    WHERE s.schemaname = current_schema() AND s.tablename = 'codex_task_memory_index' AND s.attname = 'fts'),
		-- After one frequency for each lexeme come their least and greatest.
		common AS (
		    SELECT lexeme, frequency FROM statistics, unnest(lexemes, frequencies) AS c (lexeme, frequency)
		    WHERE lexeme IS NOT NULL)
		SELECT said.lexeme, cardinality(said.positions), said.positions[1],
		       coalesce(common.frequency, (SELECT frequencies[cardinality(lexemes) + 1] FROM statistics) / 2, 0),
		       (SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = 'codex_task_memory_index'::regclass)
		FROM unnest(to_tsvector('english', $1)) AS said
		LEFT JOIN common ON common.lexeme = said.lexeme`, queryText(text))
	if err != nil {
		return nil, err
	}
	terms, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (term, error) {
		var t term
		var times int
		var frequency, total float64
		err := row.Scan(&t.lexeme, &times, &t.position, &frequency, &total)
		t.memories = frequency * total
		t.weight = inverseFrequency(total, t.memories) * (1 + math.Log(float64(max(times, 1))))
		return t, err
	})
	choose(terms)
	return terms, err
}

// inverseFrequency is the weight of a term that is in some of total memories
// (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009; plus 1
// as in Lucene, so that it is never negative).
func inverseFrequency(total, memories float64) float64 {
	return math.Log(1 + (max(total-memories, 0)+0.5)/(memories+0.5))
}

// choose sorts terms, the heaviest first, and marks those to search for.
func choose(terms []term) {
	slices.SortFunc(terms, func(a, b term) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.position, b.position))
	})
	postings, searched := 0.0, 0
	for i := range terms {
		if searched < maxTerms && postings+terms[i].memories <= maxPostings {
			postings += terms[i].memories
			terms[i].searched = true
			searched++
		}
	}
	if searched == 0 && len(terms) > 0 {
		terms[0].searched = true // all are common: better one than none
	}
}

// matching ranks at most limit memories by the terms that they have, by BM25
// (Robertson and Zaragoza, 2009; k1 1.2, b 0.75) without the count of a term
// within a memory, which the index does not have and which in texts this short
// is 1 nearly always. ts_rank is not used: it must read each memory's whole
// tsvector and knows nothing of how rare a term is.
func matching(ctx context.Context, tx pgx.Tx, q Query, terms []term, passing float64, limit int) ([]candidate, error) {
	var lexemes []string
	var weights []float64
	total := 0.0
	for _, t := range terms {
		total += t.weight
		if t.searched {
			lexemes = append(lexemes, quoteLexeme(t.lexeme))
			weights = append(weights, t.weight)
		}
	}
	if len(lexemes) == 0 {
		return nil, nil
	}
	arguments := pgx.NamedArgs{
		"lexemes": lexemes, "weights": weights, "limit": limit, "total": total,
		"per_term": maxPerTerm, "usual_bytes": ChunkBytes / 2,
	}
	// Where many pass the filters, to read them from an index once for each
	// term would cost more than to look at what a term finds; the LIMIT keeps
	// the planner from that.
	inside, outside := "TRUE", q.filter(arguments)
	if passing < exactBelow {
		inside, outside = outside, inside
	}
	return candidates(ctx, tx, `
		WITH found AS (
		    SELECT m.id, max(m.bytes) AS bytes, sum(t.weight) AS weight
		    FROM unnest(@lexemes::text[], @weights::float8[]) AS t (lexeme, weight)
		    CROSS JOIN LATERAL (
		        SELECT m.*, octet_length(m.content) AS bytes
		        FROM codex_task_memory_index m
		        WHERE m.fts @@ t.lexeme::tsquery AND `+inside+`
		        LIMIT @per_term) m
		    WHERE `+outside+`
		    GROUP BY m.id),
		ranked AS (
		    SELECT id, weight, weight / (1 + 1.2 * (0.25 + 0.75 * (bytes / @usual_bytes::float8))) AS score
		    FROM found
		    ORDER BY score DESC, id DESC
		    LIMIT 2 * @limit::integer),
		-- One text may be many tasks': the newest stands for it.
		distinct_texts AS (
		    SELECT DISTINCT ON (m.content_hash) m.id, m.task_id, m.content_hash, weight, score
		    FROM ranked JOIN codex_task_memory_index m ON m.id = ranked.id
		    ORDER BY m.content_hash, m.id DESC)
		SELECT id, task_id, content_hash, weight / @total::float8 FROM distinct_texts
		ORDER BY score DESC, id DESC
		LIMIT @limit`, arguments, func(c *candidate, share float64) { c.textMatch = min(share, 1) })
}

// queryText is what of text is searched for: its beginning, without what
// Postgres's text cannot hold.
func queryText(text string) string {
	if len(text) > maxQueryBytes {
		text = text[:maxQueryBytes]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, " "), "\x00", " ")
}

// quoteLexeme writes a lexeme as a tsquery.
func quoteLexeme(lexeme string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(lexeme) + "'"
}
