package embed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/embedding"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/eventtest"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/postgrestest"
	"github.com/graf-run/graf/shared/redistest"
	"github.com/graf-run/graf/shared/retry"
	"github.com/graf-run/graf/shared/tasktest"
)

// hashes is a model whose vectors are hashes of the texts; the pipeline's tests
// in local/ embed with the real one.
type hashModel struct {
	name string

	mu      sync.Mutex
	texts   []string // that were embedded
	err     error
	refuses string // texts with this in them are rejected
	leaves  string // at a text with this in it, the model is away
	most    int    // bytes that it manages in one call, if not 0
	hangs   bool   // until the caller loses patience
}

func (m *hashModel) Model() string  { return m.name }
func (m *hashModel) Dimension() int { return 3 }

func (m *hashModel) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if m.err != nil {
		return nil, m.err
	}
	if all := strings.Join(texts, ""); (m.most > 0 && len(all) > m.most) || (m.leaves != "" && strings.Contains(all, m.leaves)) {
		return nil, embedding.ErrUnavailable
	}
	vectors := make([][]float32, len(texts))
	for i, text := range texts {
		if m.refuses != "" && strings.Contains(text, m.refuses) {
			return nil, fmt.Errorf("too long: %w", embedding.ErrRejected)
		}
		h := fnv.New32()
		_, _ = h.Write([]byte(text))
		vectors[i] = []float32{1, float32(h.Sum32() % 7), float32(h.Sum32() % 11)}
	}
	m.texts = append(m.texts, texts...)
	return vectors, nil
}

func (m *hashModel) set(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *hashModel) embedded() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.texts)
}

type fixture struct {
	*Embedder
	pool  *pgxpool.Pool
	model *hashModel
}

func setup(t *testing.T) *fixture {
	t.Helper()
	pool := postgrestest.New(t)
	client, prefix := redistest.New(t)
	config := retry.DefaultConfig()
	config.Base, config.Max = time.Millisecond, time.Millisecond
	bucket, err := retry.NewBucket(client, "embedding", config, retry.Options{Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	m := &hashModel{name: "hash"}
	return &fixture{pool: pool, model: m, Embedder: &Embedder{
		pool: pool, model: m, bucket: bucket, attempts: 3, log: slog.Default(),
	}}
}

// state counts a task's memories: embedded, given up, and waiting.
func (f *fixture) state(t *testing.T, task uuid.UUID) string {
	t.Helper()
	return tasktest.Scan[string](t, f.pool, `SELECT count(embedded_as) || ' embedded, ' || count(embedding_error) || ' failed, '
		|| count(*) FILTER (WHERE embedded_as IS NULL AND embedding_error IS NULL) || ' waiting'
		FROM codex_task_memory_index JOIN codex_memory_contents USING (content_hash) WHERE task_id = $1`, task)
}

func (f *fixture) want(t *testing.T, task uuid.UUID, want string) {
	t.Helper()
	if got := f.state(t, task); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func (f *fixture) write(t *testing.T, task uuid.UUID, texts ...string) {
	t.Helper()
	for i, text := range texts {
		err := memory.Write(t.Context(), query.New(f.pool), memory.Task{ID: task},
			memory.Part{Kind: memory.KindEvent, Number: int64(i + 1), Text: text})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestEachTextOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	first := tasktest.Queued(t, f.pool, tasktest.Task{Prompt: "same words"})
	second := tasktest.Queued(t, f.pool, tasktest.Task{Prompt: "same words"})
	var group sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		group.Go(func() { errs[i] = f.EmbedTask(context.Background(), []uuid.UUID{first.ID, second.ID}[i%2]) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	f.want(t, first.ID, "1 embedded, 0 failed, 0 waiting")
	f.want(t, second.ID, "1 embedded, 0 failed, 0 waiting")
	if n := f.model.embedded(); n != 1 {
		t.Errorf("the model was asked for %d texts, want 1", n)
	}
}

func TestModelAway(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := tasktest.Queued(t, f.pool, tasktest.Task{})
	f.model.set(embedding.ErrUnavailable)
	if err := f.EmbedTask(t.Context(), task.ID); err != nil {
		t.Fatalf("a model that is away is for the retry bucket, not the Broker: %v", err)
	}
	f.want(t, task.ID, "0 embedded, 0 failed, 1 waiting")
	f.model.set(nil)
	f.until(t, task.ID, "1 embedded, 0 failed, 0 waiting")
}

// until sweeps until the task's memories are in the wanted state: what failed
// comes due after a millisecond.
func (f *fixture) until(t *testing.T, task uuid.UUID, want string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); f.state(t, task) != want; {
		if time.Now().After(deadline) {
			t.Fatalf("still %s, want %s", f.state(t, task), want)
		}
		if err := f.EmbedPending(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestModelHangs(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := tasktest.Queued(t, f.pool, tasktest.Task{})
	f.model.hangs = true
	ctx, cancel := context.WithTimeout(t.Context(), settleTime+time.Second)
	defer cancel()
	if err := f.EmbedTask(ctx, task.ID); err != nil {
		t.Fatalf("a model that hangs is for the retry bucket, not the Broker: %v", err)
	}
	f.want(t, task.ID, "0 embedded, 0 failed, 1 waiting")
	f.model.hangs = false
	f.until(t, task.ID, "1 embedded, 0 failed, 0 waiting")
}

func TestModelStaysAway(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := tasktest.Queued(t, f.pool, tasktest.Task{})
	f.model.set(embedding.ErrUnavailable)
	if err := f.EmbedTask(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	f.until(t, task.ID, "0 embedded, 1 failed, 0 waiting")
	letters := tasktest.Scan[int](t, f.pool, `SELECT count(*) FROM codex_dead_letters WHERE subject = $1`, task.ID.String())
	if letters != 1 {
		t.Errorf("%d dead letters, want 1", letters)
	}
	letter := tasktest.Scan[json.RawMessage](t, f.pool, `SELECT event FROM codex_dead_letters WHERE subject = $1`, task.ID.String())
	f.model.set(nil)
	f.replay(t, letter)
	f.want(t, task.ID, "1 embedded, 0 failed, 0 waiting")
}

func TestLaterTextsOfATaskThatWasGivenUp(t *testing.T) {
	t.Parallel()
	for name, missed := range map[string]bool{"event": false, "event missed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			task := tasktest.Queued(t, f.pool, tasktest.Task{})
			f.model.set(embedding.ErrUnavailable)
			if err := f.EmbedTask(t.Context(), task.ID); err != nil {
				t.Fatal(err)
			}
			f.until(t, task.ID, "0 embedded, 1 failed, 0 waiting")
			f.write(t, task.ID, "said while the model is away")
			if missed {
				tasktest.Exec(t, f.pool, `UPDATE codex_memory_contents SET created_at = now() - interval '1 minute'`)
			} else if err := f.EmbedTask(t.Context(), task.ID); err != nil {
				t.Fatal(err)
			}
			f.model.set(nil)
			f.until(t, task.ID, "1 embedded, 1 failed, 0 waiting")
			f.replay(t, tasktest.Scan[json.RawMessage](t, f.pool, `SELECT event FROM codex_dead_letters WHERE subject = $1`, task.ID.String()))
			f.want(t, task.ID, "2 embedded, 0 failed, 0 waiting")
		})
	}
}

// replay hands a dead letter to the function again, as its runbook does.
func (f *fixture) replay(t *testing.T, letter json.RawMessage) {
	t.Helper()
	var e event.Event
	if err := json.Unmarshal(letter, &e); err != nil {
		t.Fatal(err)
	}
	if err := eventtest.Check(e); err != nil {
		t.Error(err)
	}
	if err := f.handlePending(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func TestRefusedText(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.model.refuses = "unspeakable"
	task := tasktest.Queued(t, f.pool, tasktest.Task{})
	f.write(t, task.ID, "one", "unspeakable", "three")
	if err := f.EmbedTask(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	f.want(t, task.ID, "3 embedded, 1 failed, 0 waiting")
}

func TestMoreThanABatch(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := tasktest.Queued(t, f.pool, tasktest.Task{})
	texts := make([]string, 2*batch+1)
	for i := range texts {
		texts[i] = fmt.Sprintf("text %d", i)
	}
	f.write(t, task.ID, texts...)
	if err := f.EmbedTask(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	f.want(t, task.ID, fmt.Sprintf("%d embedded, 0 failed, 0 waiting", len(texts)+1))
}

// A model that takes its time for each byte gets on call by call, and once calls
// are small enough for one delivery's time.
func TestSlowModel(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := tasktest.Queued(t, f.pool, tasktest.Task{Prompt: "short"})
	texts := make([]string, batch-1)
	for i := range texts {
		texts[i] = fmt.Sprintf("%d %s", i, strings.Repeat("word ", 250))
	}
	f.write(t, task.ID, texts...)
	f.model.most = callBytes / 4
	made, err := f.embedTask(t.Context(), task.ID, callBytes)
	if !errors.Is(err, embedding.ErrUnavailable) || made != 1 {
		t.Errorf("%d texts, %v: want the prompt alone", made, err)
	}
	if err := f.EmbedTask(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	f.until(t, task.ID, fmt.Sprintf("%d embedded, 0 failed, 0 waiting", batch))
}

// What was embedded before the model went away is kept, and no claim is left.
func TestModelGoesAwayBetweenCalls(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := tasktest.Queued(t, f.pool, tasktest.Task{Prompt: "short"})
	long := strings.Repeat("word ", 300)
	f.write(t, task.ID, "1 "+long, "2 "+long, "3 unspeakable")
	f.model.leaves = "unspeakable"
	made, err := f.embedTask(t.Context(), task.ID, len(long)+5)
	if !errors.Is(err, embedding.ErrUnavailable) || made != 3 {
		t.Errorf("%d texts, %v: want three", made, err)
	}
	f.want(t, task.ID, "3 embedded, 0 failed, 1 waiting")
	if claims := tasktest.Scan[int](t, f.pool, `SELECT count(*) FROM codex_embedding_claims`); claims != 0 {
		t.Errorf("%d claims are left", claims)
	}
}

// Embedders that claim the same texts in different order do not deadlock.
func TestClaimsInAnyOrder(t *testing.T) {
	t.Parallel()
	f := setup(t)
	texts := make([]text, 1000)
	for i := range texts {
		texts[i].hash = []byte(fmt.Sprintf("%032d", i))
	}
	backwards := slices.Clone(texts)
	slices.Reverse(backwards)
	var group sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		group.Go(func() {
			for range 10 {
				mine, err := f.claim(context.Background(), [][]text{texts, backwards}[i%2])
				errs[i] = errors.Join(errs[i], err, f.release(context.Background(), mine))
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

func TestMissedEvent(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := tasktest.Queued(t, f.pool, tasktest.Task{})
	if err := f.EmbedPending(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.want(t, task.ID, "0 embedded, 0 failed, 1 waiting") // its event may still come
	tasktest.Exec(t, f.pool, `UPDATE codex_memory_contents SET created_at = now() - interval '1 minute'`)
	if err := f.EmbedPending(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.want(t, task.ID, "1 embedded, 0 failed, 0 waiting")
	if left, err := f.bucket.Done(t.Context(), task.ID.String()); left || err != nil {
		t.Errorf("the task stays in the retry bucket: %t, %v", left, err)
	}
}

func TestChangeOfModel(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := tasktest.Queued(t, f.pool, tasktest.Task{})
	if err := f.EmbedTask(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	f.model.name = "another"
	for range 2 {
		if err := f.EmbedOutdated(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	models := tasktest.Scan[string](t, f.pool, `SELECT string_agg(model, ' ' ORDER BY model) FROM codex_embeddings`)
	as := tasktest.Scan[string](t, f.pool, `SELECT embedded_as FROM codex_memory_contents`)
	if models != "another hash" || as != "another@3" {
		t.Errorf("vectors of %s, embedded as %s: want both models' and the new one", models, as)
	}
	f.model.name = "hash"
	if err := f.EmbedTask(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	as = tasktest.Scan[string](t, f.pool, `SELECT embedded_as FROM codex_memory_contents`)
	if n := f.model.embedded(); as != "hash@3" || n != 2 {
		t.Errorf("embedded as %s after %d texts: want the first model's vector again, which is there", as, n)
	}
}
