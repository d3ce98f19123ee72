package memory

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// candidate is a memory that one or both rankings found.
type candidate struct {
	id, task   uuid.UUID
	hash       [32]byte
	similarity float64
	textMatch  float64
	score      float64
}

// candidates runs a statement that returns id, task_id, content_hash and a
// value, which set puts where it belongs.
func candidates(ctx context.Context, tx pgx.Tx, sql string, arguments pgx.NamedArgs,
	set func(*candidate, float64),
) ([]candidate, error) {
	rows, err := tx.Query(ctx, sql, arguments)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (candidate, error) {
		var c candidate
		var hash []byte
		var value float64
		err := row.Scan(&c.id, &c.task, &hash, &value)
		copy(c.hash[:], hash)
		set(&c, value)
		return c, err
	})
}

const (
	// rankConstant damps the lead of the first ranks. 60 is the value of the
	// paper that fuse follows.
	rankConstant = 60
	// hitsPerTask is how many hits one task may have while others have any.
	hitsPerTask = 3
)

// fuse joins rankings into the limit best by reciprocal rank fusion (Cormack,
// Clarke and Büttcher, SIGIR 2009): a memory's score is the sum over rankings
// of 1/(60+rank), here divided by what the first of every ranking has, so that
// it is at most 1. Ranks rather than values, because a cosine and a text score
// have no scale in common.
func fuse(rankings [][]candidate, limit int) []candidate {
	best := float64(len(rankings)) / (rankConstant + 1)
	byHash := map[[32]byte]*candidate{}
	for _, ranking := range rankings {
		for i, c := range ranking {
			fused, ok := byHash[c.hash]
			if !ok {
				fused = &candidate{id: c.id, task: c.task, hash: c.hash}
				byHash[c.hash] = fused
			}
			fused.score += 1 / float64(rankConstant+i+1) / best
			fused.similarity += c.similarity
			fused.textMatch += c.textMatch
		}
	}
	all := make([]candidate, 0, len(byHash))
	for _, c := range byHash {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.similarity, a.similarity),
			bytes.Compare(b.id[:], a.id[:]))
	})
	return spread(all, limit)
}

// spread takes the limit best of all, of each task at most hitsPerTask while
// that fills limit; order is kept.
func spread(all []candidate, limit int) []candidate {
	if len(all) <= limit {
		return all
	}
	perTask := map[uuid.UUID]int{}
	taken, taking := make([]bool, len(all)), 0
	for i, c := range all {
		if taking < limit && perTask[c.task] < hitsPerTask {
			perTask[c.task]++
			taken[i], taking = true, taking+1
		}
	}
	kept := make([]candidate, 0, limit)
	for i, c := range all {
		if !taken[i] && taking < limit {
			taken[i], taking = true, taking+1
		}
		if taken[i] {
			kept = append(kept, c)
		}
	}
	return kept
}
