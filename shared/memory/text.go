package memory

import (
	"cmp"
	"context"
	"fmt"
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
	// maxPostings is how many texts the searched terms may be in, all
	// together: what bounds the time of a search. Terms that are in too many
	// tell the least, so they are the ones left out.
	maxPostings = 3000
	// maxPerTerm bounds one term where the statistics are behind, or where it is
	// searched for although it is in too many.
	maxPerTerm = 3000
	// maxTermsOfPassing is how many terms are searched for in the memories that
	// pass a filter, each of which is compared with each of them.
	maxTermsOfPassing = 8
)

// term is a lexeme of the query's text.
type term struct {
	lexeme string
	// position is the place of its first mention.
	position int
	// texts is about how many texts have it.
	texts float64
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
		    WHERE s.schemaname = current_schema() AND s.tablename = 'codex_memory_contents' AND s.attname = 'fts'),
		-- After one frequency for each lexeme come their least and greatest.
		common AS (
		    SELECT lexeme, frequency FROM statistics, unnest(lexemes, frequencies) AS c (lexeme, frequency)
		    WHERE lexeme IS NOT NULL)
		SELECT said.lexeme, cardinality(said.positions), said.positions[1],
		       coalesce(common.frequency, (SELECT frequencies[cardinality(lexemes) + 1] FROM statistics) / 2, 0),
		       (SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = 'codex_memory_contents'::regclass)
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
		t.texts = frequency * total
		t.weight = inverseFrequency(total, t.texts) * (1 + math.Log(float64(max(times, 1))))
		return t, err
	})
	choose(terms)
	return terms, err
}

// inverseFrequency is the weight of a term that is in some of total texts
// (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009; plus 1
// as in Lucene, so that it is never negative).
func inverseFrequency(total, texts float64) float64 {
	return math.Log(1 + (max(total-texts, 0)+0.5)/(texts+0.5))
}

// choose sorts terms, the heaviest first, and marks those to search for.
func choose(terms []term) {
	slices.SortFunc(terms, func(a, b term) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.position, b.position))
	})
	postings, searched := 0.0, 0
	for i := range terms {
		if searched < maxTerms && postings+terms[i].texts <= maxPostings {
			postings += terms[i].texts
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
// within a text, which the index does not have and which in texts this short is
// 1 nearly always. ts_rank is not used: it must read each text's whole tsvector
// and knows nothing of how rare a term is.
func matching(ctx context.Context, tx pgx.Tx, q Query, terms []term, s size, limit int) ([]candidate, error) {
	searched := slices.DeleteFunc(slices.Clone(terms), func(t term) bool { return !t.searched })
	// A lone term that is in too many texts would be cut off before it came to
	// the few that pass. These few can have all terms instead.
	found := textsWithTerms
	if len(searched) == 1 && searched[0].texts > maxPostings && s.passing < exactBelow {
		searched, found = terms[:min(len(terms), maxTermsOfPassing)], filteredTextsWithTerms
	}
	if len(searched) == 0 {
		return nil, nil
	}
	lexemes, weights := make([]string, len(searched)), make([]float64, len(searched))
	for i, t := range searched {
		lexemes[i], weights[i] = quoteLexeme(t.lexeme), t.weight
	}
	total := 0.0
	for _, t := range terms {
		total += t.weight
	}
	arguments := pgx.NamedArgs{
		"lexemes": lexemes, "weights": weights, "total": total,
		"per_term": maxPerTerm, "usual_bytes": ChunkBytes / 2,
	}
	return candidates(ctx, tx, fmt.Sprintf(`
		WITH found AS (
		    SELECT f.content_hash, sum(f.weight) AS weight,
		           sum(f.weight) / (1 + 1.2 * (0.25 + 0.75 * (max(f.bytes) / @usual_bytes::float8))) AS score
		    FROM (`+found+`) f
		    GROUP BY f.content_hash)
		SELECT m.id, m.task_id, c.content_hash, c.weight / @total::float8
		FROM (SELECT * FROM found ORDER BY score DESC, content_hash) c
		CROSS JOIN LATERAL (`+newestMemory+`) m
		ORDER BY c.score DESC, c.content_hash
		LIMIT %[1]d`, limit, q.filter(arguments)), arguments, func(c *candidate, share float64) { c.textMatch = min(share, 1) })
}

// textsWithTerms finds texts by the index.
const textsWithTerms = `
		        SELECT c.content_hash, c.bytes, t.weight
		        FROM unnest(@lexemes::text[], @weights::float8[]) AS t (lexeme, weight)
		        CROSS JOIN LATERAL (
		            SELECT c.content_hash, octet_length(c.content) AS bytes
		            FROM codex_memory_contents c
		            WHERE c.fts @@ t.lexeme::tsquery
		            LIMIT @per_term) c`

// filteredTextsWithTerms looks at each memory that passes the filters.
const filteredTextsWithTerms = `
		        SELECT c.content_hash, octet_length(c.content) AS bytes, t.weight
		        FROM (SELECT DISTINCT m.content_hash FROM codex_task_memory_index m WHERE %[2]s) m
		        JOIN codex_memory_contents c ON c.content_hash = m.content_hash
		        JOIN unnest(@lexemes::text[], @weights::float8[]) AS t (lexeme, weight) ON c.fts @@ t.lexeme::tsquery`

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
