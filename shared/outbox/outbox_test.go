package outbox_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/tasktest"
)

func TestTransactPublishesWhatItCommits(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"nothing": 0, "one": 1, "more than go at once": 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			events := submittedMany(w.context, n)
			err := w.outbox.Transact(w.context, func(tx *outbox.Tx) error {
				_, err := tx.Raw.Exec(w.context, "CREATE TABLE changed ()")
				tx.Announce(events...)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			w.published(events...)
			w.stored()
			if !w.changed() {
				t.Error("what the transaction changed is not there")
			}
		})
	}
}

// changed tells whether the table is there that transactions of these tests make.
func (w *world) changed() bool {
	w.t.Helper()
	return tasktest.Scan[bool](w.t, w.pool, "SELECT to_regclass('changed') IS NOT NULL")
}

func TestTransactThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	errOwn := errors.New("on second thoughts")
	for name, test := range map[string]struct {
		fail func(context.Context, *outbox.Tx) error
		want error // nil: any
	}{
		"fn fails":             {func(context.Context, *outbox.Tx) error { return errOwn }, errOwn},
		"an event is not one":  {func(_ context.Context, tx *outbox.Tx) error { tx.Announce(event.Event{}); return nil }, nil},
		"the commit is denied": {deferredViolation, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			err := w.outbox.Transact(w.context, func(tx *outbox.Tx) error {
				if _, err := tx.Raw.Exec(w.context, "CREATE TABLE changed ()"); err != nil {
					return err
				}
				tx.Announce(submitted(w.context))
				return test.fail(w.context, tx)
			})
			if err == nil || (test.want != nil && !errors.Is(err, test.want)) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			w.published()
			w.stored()
			if w.changed() {
				t.Error("the change is there without its event")
			}
		})
	}
}

// deferredViolation has the commit itself fail: that is when the key is checked.
func deferredViolation(ctx context.Context, tx *outbox.Tx) error {
	_, err := tx.Raw.Exec(ctx, `CREATE TABLE twice (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
		INSERT INTO twice VALUES (1), (1)`)
	return err
}

// A row is deleted by its id: which id goes with which event must hold.
func TestTransactKeepsWhatTheSinkRefuses(t *testing.T) {
	t.Parallel()
	w := setup(t)
	events := submittedMany(w.context, 20)
	var refused, taken []event.Event
	for i, e := range events {
		if i%3 == 1 {
			refused = append(refused, e)
		} else {
			taken = append(taken, e)
		}
	}
	err := w.through(shutFor(refused)).Transact(w.context, func(tx *outbox.Tx) error {
		tx.Announce(events...)
		return nil
	})
	if err != nil {
		t.Fatalf("an event that the sink refuses is no error: %v", err)
	}
	w.published(taken...)
	w.stored(refused...)
}

func shutFor(refused []event.Event) gate {
	return func(_ context.Context, e event.Event) error {
		if slices.Contains(ids(refused), e.ID()) {
			return errShut
		}
		return nil
	}
}

// endAtCommit ends a context as soon as the database has answered the commit.
type endAtCommit struct{ end context.CancelFunc }

type commitKey struct{}

func (endAtCommit) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, commitKey{}, q.SQL == "commit")
}

func (e endAtCommit) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if isCommit, _ := ctx.Value(commitKey{}).(bool); isCommit {
		e.end()
	}
}

func TestTransactPublishesThoughItsCallerLeavesAfterTheCommit(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ctx, cancel := context.WithCancel(w.context)
	defer cancel()
	config := w.pool.Config()
	config.ConnConfig.Tracer = endAtCommit{cancel}
	pool, err := pgxpool.NewWithConfig(w.context, config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	e := submitted(ctx)
	if err := outbox.New(pool, w.client, quiet).Transact(ctx, func(tx *outbox.Tx) error {
		tx.Announce(e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() == nil {
		t.Fatal("the caller's context did not end at the commit")
	}
	w.published(e)
	w.stored()
}

func TestTransactAnnouncesOnceThoughItRunsAgain(t *testing.T) {
	t.Parallel()
	w := setup(t)
	tasktest.Exec(t, w.pool, "CREATE TABLE counter AS SELECT 0 AS n")
	var made []event.Event // one for each run
	err := w.outbox.Transact(w.context, func(tx *outbox.Tx) error {
		made = append(made, submitted(w.context))
		tx.Announce(made[len(made)-1])
		// The first statement of a transaction takes its snapshot.
		if _, err := tx.Raw.Exec(w.context, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"); err != nil {
			return err
		}
		if _, err := tx.Raw.Exec(w.context, "SELECT n FROM counter"); err != nil {
			return err
		}
		if len(made) == 1 { // another is faster
			tasktest.Exec(t, w.pool, "UPDATE counter SET n = n + 1")
		}
		_, err := tx.Raw.Exec(w.context, "UPDATE counter SET n = n + 1")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != 2 {
		t.Fatalf("fn ran %d times, want 2: the first must fail to serialize", len(made))
	}
	w.published(made[1])
	w.stored()
	if n := tasktest.Scan[int](t, w.pool, "SELECT n FROM counter"); n != 2 {
		t.Errorf("the counter is %d, want 2", n)
	}
}

func TestPublishingIsBounded(t *testing.T) {
	t.Parallel()
	const atOnce = 8
	w := setup(t)
	events := submittedMany(w.context, 3*atOnce)
	var mu sync.Mutex
	sending, most := 0, 0
	full := make(chan struct{})
	o := w.through(func(ctx context.Context, _ event.Event) error {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 5*time.Second {
			t.Errorf("an event may take until %v (%v), want 5 s at the most", deadline, ok)
		}
		mu.Lock()
		sending++
		if most = max(most, sending); sending == atOnce && most == atOnce {
			close(full)
		}
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			sending--
		}()
		select {
		case <-full: // as many as may are under way
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err := o.Transact(w.context, func(tx *outbox.Tx) error {
		tx.Announce(events...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if most != atOnce {
		t.Errorf("%d events were under way at once, want %d", most, atOnce)
	}
	w.published(events...)
}

func TestAfterCommitComesBeforeTheEvents(t *testing.T) {
	t.Parallel()
	w := setup(t)
	var steps []string
	o := w.through(func(context.Context, event.Event) error {
		steps = append(steps, "published")
		return nil
	})
	errOwn := errors.New("on second thoughts")
	for _, err := range []error{errOwn, nil} {
		got := o.Transact(w.context, func(tx *outbox.Tx) error {
			tx.AfterCommit(func(ctx context.Context) {
				if _, ok := ctx.Deadline(); !ok {
					t.Error("what comes after the commit may take for ever")
				}
				steps = append(steps, "after commit")
			})
			tx.Announce(submitted(w.context))
			return err
		})
		if !errors.Is(got, err) {
			t.Fatalf("got %v, want %v", got, err)
		}
	}
	if want := []string{"after commit", "published"}; !slices.Equal(steps, want) {
		t.Errorf("%v, want %v: once, for the transaction that committed", steps, want)
	}
}
