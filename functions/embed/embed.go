package embed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pgvector/pgvector-go"

	"github.com/graf-run/graf/shared/embedding"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/retry"
)

const (
	// batch bounds the texts that are listed and claimed at once.
	batch = 128
	// callBytes bounds the texts of one call to the model, by their length. What
	// a call made is kept whatever becomes of the next. It halves with each
	// failure of a task, for a model too slow for so much in one delivery.
	callBytes = 64 << 10
	// claimLease is how long a text is left to who claimed it. It exceeds the
	// time that one batch may take, retries included.
	claimLease = time.Minute
	// missedAge is how old a text is that no event and no bucket took care of.
	missedAge = 15 * time.Second
	// settleTime is kept back of a delivery's time, so that a model that hangs
	// can still be noted in the retry bucket.
	settleTime = 5 * time.Second
	// taskBatch bounds the tasks of one sweep; the next sweep takes the rest.
	taskBatch = 100
)

// model makes vectors; *embedding.Client is the real one.
type model interface {
	Embed(ctx context.Context, texts []string) ([][]float32, error)
	Model() string
	Dimension() int
}

// Embedder gives texts their vectors.
type Embedder struct {
	pool   *pgxpool.Pool
	model  model
	bucket *retry.Bucket
	// attempts is after how many failures a task's texts are given up.
	attempts int
	log      *slog.Logger
}

// text is a content that lacks a vector.
type text struct {
	hash    []byte
	content string
}

// EmbedTask embeds the task's texts that lack a vector. If the model is away it
// schedules the task for a later try, which is a success: the Broker need not
// deliver the event again. Errors are those of the stores.
func (e *Embedder) EmbedTask(ctx context.Context, task uuid.UUID) error {
	return e.try(ctx, task, 0, false)
}

// Revive begins anew with a task whose texts were given up.
func (e *Embedder) Revive(ctx context.Context, task uuid.UUID) error {
	if err := query.New(e.pool).ReviveTask(ctx, task); err != nil {
		return fmt.Errorf("revive the texts of task %s: %w", task, err)
	}
	if _, err := e.bucket.Done(ctx, task.String()); err != nil {
		return fmt.Errorf("revive the texts of task %s: %w", task, err)
	}
	return e.EmbedTask(ctx, task)
}

// EmbedPending embeds what is due in the retry bucket, and what was missed
// because an event or the bucket was lost.
func (e *Embedder) EmbedPending(ctx context.Context) error {
	if err := e.restoreMissed(ctx); err != nil {
		return err
	}
	due, err := e.bucket.Due(ctx, taskBatch)
	if err != nil {
		return fmt.Errorf("take due embeddings: %w", err)
	}
	var errs []error
	for _, item := range due {
		task, err := uuid.Parse(item.ID)
		if err != nil {
			errs = append(errs, fmt.Errorf("retry bucket: %q is not a task", item.ID))
			continue
		}
		errs = append(errs, e.try(ctx, task, item.Failures, true))
	}
	return errors.Join(append(errs, e.EmbedOutdated(ctx))...)
}

// restoreMissed puts tasks into the bucket that have old texts without a vector
// and are not in it, or dead there: Postgres is the truth, Redis may have been
// wiped, and a task whose texts were given up may have said more.
func (e *Embedder) restoreMissed(ctx context.Context) error {
	tasks, err := query.New(e.pool).PendingTasks(ctx, missedAge, taskBatch)
	if err != nil {
		return fmt.Errorf("list tasks with texts to embed: %w", err)
	}
	items := make([]retry.Item, len(tasks))
	for i, task := range tasks {
		items[i] = retry.Item{ID: task.String(), Reason: "its event was missed", Due: time.Now()}
	}
	if len(items) == 0 {
		return nil
	}
	if _, err := e.bucket.Restore(ctx, items...); err != nil {
		return fmt.Errorf("restore missed embeddings: %w", err)
	}
	return nil
}

// try embeds a task's texts and settles its entry in the bucket, if it is from
// there. failures is how often it failed before.
func (e *Embedder) try(ctx context.Context, task uuid.UUID, failures int, inBucket bool) error {
	made, err := e.embedTask(ctx, task, callBytes>>failures)
	switch {
	case errors.Is(err, embedding.ErrUnavailable):
		// A model that is slow but gets on does not use up the attempts.
		if made == 0 || failures == 0 {
			failures++
		}
		return e.retryLater(ctx, task, failures, err)
	case err != nil || !inBucket:
		return err
	}
	if _, err := e.bucket.Done(ctx, task.String()); err != nil {
		return fmt.Errorf("settle the retry of task %s: %w", task, err)
	}
	return nil
}

// embedTask embeds all of a task's texts, so many bytes in a call, and tells how
// many it did.
func (e *Embedder) embedTask(ctx context.Context, task uuid.UUID, bytes int) (made int, err error) {
	q := query.New(e.pool)
	for {
		rows, err := q.PendingContents(ctx, task, e.modelKey(), batch)
		if err != nil {
			return made, fmt.Errorf("list texts of task %s: %w", task, err)
		}
		// The prompt's vector by itself and first: the launch waits for it.
		var prompt, others []text
		for _, row := range rows {
			t := text{hash: row.ContentHash, content: row.Content}
			if row.IsPrompt {
				prompt = append(prompt, t)
			} else {
				others = append(others, t)
			}
		}
		first, err := e.embed(ctx, prompt, bytes)
		made += first
		if err != nil {
			return made, err
		}
		rest, err := e.embed(ctx, others, bytes)
		made += rest
		if err != nil || first+rest < batch {
			return made, err
		}
	}
}

// EmbedOutdated renews a few vectors that another model made, so that a change
// of model carries the memories over while tasks go on.
func (e *Embedder) EmbedOutdated(ctx context.Context) error {
	rows, err := query.New(e.pool).OutdatedContents(ctx, e.modelKey(), batch)
	if err != nil {
		return fmt.Errorf("list texts of another model: %w", err)
	}
	texts := make([]text, len(rows))
	for i, row := range rows {
		texts[i] = text{hash: row.ContentHash, content: row.Content}
	}
	if _, err := e.embed(ctx, texts, callBytes); err != nil && !errors.Is(err, embedding.ErrUnavailable) {
		return err
	}
	return nil
}

// embed gives texts their vectors, so many bytes in a call, all but those that
// another instance is embedding just now, and tells how many it did.
func (e *Embedder) embed(ctx context.Context, texts []text, bytes int) (made int, err error) {
	mine, err := e.claim(ctx, texts)
	if err != nil || len(mine) == 0 {
		return 0, err
	}
	there, err := e.markEmbedded(ctx, mine)
	if err != nil {
		return 0, err
	}
	made = len(there)
	mine = slices.DeleteFunc(mine, func(t text) bool { return there[string(t.hash)] })
	for len(mine) > 0 {
		n := callLength(mine, bytes)
		if err := e.create(ctx, mine[:n]); err != nil {
			return made, errors.Join(err, e.release(ctx, mine))
		}
		made, mine = made+n, mine[n:]
	}
	return made, nil
}

// callLength is how many of the texts make one call: at least one.
func callLength(texts []text, bytes int) int {
	for i, t := range texts {
		if bytes -= len(t.content); bytes < 0 {
			return max(1, i)
		}
	}
	return len(texts)
}

// markEmbedded looks for texts that have a vector by now: since they were listed
// another instance may have made it, or the model was changed back to one of
// before. Claimed texts get no vector from anybody else.
func (e *Embedder) markEmbedded(ctx context.Context, mine []text) (map[string]bool, error) {
	q, name, dimension := query.New(e.pool), e.model.Model(), e.dimension()
	there, err := q.EmbeddedContents(ctx, hashes(mine), name, dimension)
	if err != nil {
		return nil, fmt.Errorf("look for vectors: %w", err)
	}
	embedded := make(map[string]bool, len(there))
	for _, hash := range there {
		embedded[string(hash)] = true
	}
	if len(there) == 0 {
		return nil, nil
	}
	if err := errors.Join(q.MarkEmbedded(ctx, name, dimension, there), q.ReleaseContents(ctx, name, dimension, there)); err != nil {
		return nil, fmt.Errorf("mark texts that have vectors: %w", err)
	}
	return embedded, nil
}

// create has the model make vectors.
func (e *Embedder) create(ctx context.Context, mine []text) error {
	vectors, err := e.vectors(ctx, contents(mine))
	switch {
	case errors.Is(err, embedding.ErrRejected) && len(mine) > 1:
		return e.embedOneByOne(ctx, mine)
	case errors.Is(err, embedding.ErrRejected):
		return e.giveUp(ctx, mine[0], err)
	case err != nil:
		return err
	}
	return e.store(ctx, mine, vectors)
}

// vectors asks the model, but not to the very end of the delivery's time.
func (e *Embedder) vectors(ctx context.Context, texts []string) ([][]float32, error) {
	asking := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		asking, cancel = context.WithDeadline(ctx, deadline.Add(-settleTime))
		defer cancel()
	}
	vectors, err := e.model.Embed(asking, texts)
	if err != nil && asking.Err() != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("%w: no answer in the time of this delivery: %w", embedding.ErrUnavailable, err)
	}
	return vectors, err
}

// embedOneByOne finds the texts of a rejected batch that the model refuses.
func (e *Embedder) embedOneByOne(ctx context.Context, texts []text) error {
	for i, t := range texts {
		vectors, err := e.vectors(ctx, []string{t.content})
		switch {
		case errors.Is(err, embedding.ErrRejected):
			err = e.giveUp(ctx, t, err)
		case err == nil:
			err = e.store(ctx, texts[i:i+1], vectors)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *Embedder) claim(ctx context.Context, texts []text) ([]text, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	won, err := query.New(e.pool).ClaimContents(ctx, query.ClaimContentsParams{
		ContentHashes: hashes(texts), Model: e.model.Model(),
		Dimension: e.dimension(), Lease: claimLease,
	})
	if err != nil {
		return nil, fmt.Errorf("claim texts: %w", err)
	}
	claimed := make(map[string]bool, len(won))
	for _, hash := range won {
		claimed[string(hash)] = true
	}
	mine := texts[:0:0]
	for _, t := range texts {
		if claimed[string(t.hash)] {
			mine = append(mine, t)
		}
	}
	return mine, nil
}

func (e *Embedder) release(ctx context.Context, texts []text) error {
	return query.New(e.pool).ReleaseContents(context.WithoutCancel(ctx),
		e.model.Model(), e.dimension(), hashes(texts))
}

// store writes vectors, marks the memories that have these texts, and gives the
// claims back, all at once.
func (e *Embedder) store(ctx context.Context, texts []text, vectors [][]float32) error {
	encoded := make([]string, len(vectors))
	for i, v := range vectors {
		encoded[i] = pgvector.NewHalfVector(v).String()
	}
	name, dimension := e.model.Model(), e.dimension()
	err := postgres.Transact(ctx, e.pool, func(tx pgx.Tx) error {
		q := query.New(tx)
		if err := q.InsertEmbeddings(ctx, query.InsertEmbeddingsParams{
			ContentHashes: hashes(texts), Model: name, Dimension: dimension, Embeddings: encoded,
		}); err != nil {
			return err
		}
		if err := q.MarkEmbedded(ctx, name, dimension, hashes(texts)); err != nil {
			return err
		}
		return q.ReleaseContents(ctx, name, dimension, hashes(texts))
	})
	if err != nil {
		return fmt.Errorf("store %d vectors: %w", len(vectors), err)
	}
	return nil
}

// giveUp marks a text that the model refuses; it stays findable by full text.
func (e *Embedder) giveUp(ctx context.Context, t text, reason error) error {
	e.log.WarnContext(ctx, "the embedding model refuses a text", "error", reason)
	if err := query.New(e.pool).MarkContentsFailed(ctx, reason.Error(), [][]byte{t.hash}); err != nil {
		return fmt.Errorf("mark a refused text: %w", err)
	}
	return e.release(ctx, []text{t})
}

// retryLater puts the task into the retry bucket. After the last attempt it
// gives the texts up first, so that a crash in between gives up again and does
// not leave them waiting for nobody.
func (e *Embedder) retryLater(ctx context.Context, task uuid.UUID, failures int, cause error) error {
	if failures >= e.attempts {
		e.log.ErrorContext(ctx, "embedding given up", "task", task, "failures", failures, "error", cause)
		if err := e.bury(ctx, task, cause); err != nil {
			return err
		}
	}
	if failures == 1 {
		// If earlier texts of the task were given up, these begin anew.
		if _, err := e.bucket.Requeue(ctx, task.String()); err != nil {
			return fmt.Errorf("schedule the embedding of task %s: %w", task, errors.Join(err, cause))
		}
	}
	due, dead, err := e.bucket.Schedule(ctx, task.String(), failures, cause.Error())
	if err != nil {
		return fmt.Errorf("schedule the embedding of task %s: %w", task, errors.Join(err, cause))
	}
	if !dead {
		e.log.WarnContext(ctx, "embedding failed", "task", task, "failures", failures, "due", due, "error", cause)
	}
	return nil
}

// bury marks the task's texts as given up and keeps a dead letter that says why.
func (e *Embedder) bury(ctx context.Context, task uuid.UUID, cause error) error {
	err := postgres.Transact(ctx, e.pool, func(tx pgx.Tx) error {
		q := query.New(tx)
		texts, err := q.MarkTaskFailed(ctx, cause.Error(), task)
		if err != nil || texts == 0 { // embedded or given up in the meantime
			return err
		}
		letter := event.NewTask(ctx, event.TypeMemoryPending, event.SourceEmbed, task, event.MemoryPending{Pending: texts})
		encoded, err := json.Marshal(letter)
		if err != nil {
			return fmt.Errorf("encode a dead letter: %w", err)
		}
		return q.InsertDeadLetter(ctx, query.InsertDeadLetterParams{
			ID: uuid.Must(uuid.NewV7()), EventID: letter.ID(), Source: letter.Source(), Type: letter.Type(),
			Subject: letter.Subject(), Destination: "graf-embed", Error: cause.Error(), Event: encoded,
		})
	})
	if err != nil {
		return fmt.Errorf("give up the embedding of task %s: %w", task, err)
	}
	return nil
}

// modelKey is the model as texts are marked with it.
func (e *Embedder) modelKey() string {
	return fmt.Sprintf("%s@%d", e.model.Model(), e.model.Dimension())
}

// dimension is the model's, as the database has it.
func (e *Embedder) dimension() int32 {
	return int32(e.model.Dimension()) //nolint:gosec // embedding.New takes at most embedding.MaxDimension
}

func contents(texts []text) []string {
	c := make([]string, len(texts))
	for i, t := range texts {
		c[i] = t.content
	}
	return c
}

func hashes(texts []text) [][]byte {
	h := make([][]byte, len(texts))
	for i, t := range texts {
		h[i] = t.hash
	}
	return h
}
