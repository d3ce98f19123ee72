package outbox_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/eventtest"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgrestest"
	"github.com/graf-run/graf/shared/sink"
	"github.com/graf-run/graf/shared/tasktest"
)

// timeout bounds a test's waiting for what must come.
const timeout = time.Minute

var quiet = slog.New(slog.DiscardHandler)

// world is an outbox on a real database that publishes to a real sink by HTTP.
type world struct {
	t       testing.TB
	context context.Context
	pool    *pgxpool.Pool
	sink    *eventtest.Sink
	client  *sink.Client
	outbox  *outbox.Outbox
}

func setup(t testing.TB) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	w := &world{t: t, context: ctx, pool: postgrestest.New(t), sink: eventtest.NewSink(t)}
	client, err := sink.New(sink.Config{URL: w.sink.URL, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w.client = client
	w.outbox = outbox.New(w.pool, client, quiet)
	return w
}

// through gives an outbox on the same database and sink, with a gate before the sink.
func (w *world) through(g gate) *outbox.Outbox {
	return outbox.New(w.pool, sinkFunc(func(ctx context.Context, e event.Event) error {
		if err := g(ctx, e); err != nil {
			return err
		}
		return w.client.Send(ctx, e)
	}), quiet)
}

// gate lets an event pass to the sink, or tells why not.
type gate func(context.Context, event.Event) error

type sinkFunc func(context.Context, event.Event) error

func (f sinkFunc) Send(ctx context.Context, e event.Event) error { return f(ctx, e) }

var errShut = errors.New("the gate is shut")

// submitted makes an event about a task of its own.
func submitted(ctx context.Context) event.Event {
	id := uuid.Must(uuid.NewV7())
	return event.NewTask(ctx, event.TypeTaskSubmitted, event.SourceSubmit, id, event.TaskSubmitted{
		TaskID: id, Caller: "test", Namespaces: []string{"default"}, Tags: []string{}, CreatedAt: time.Now().UTC(),
	})
}

func submittedMany(ctx context.Context, n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i] = submitted(ctx)
	}
	return events
}

// leave commits events that the sink does not take, as a writer that dies before
// it publishes would leave them.
func (w *world) leave(events ...event.Event) {
	w.t.Helper()
	err := w.through(func(context.Context, event.Event) error { return errShut }).
		Transact(w.context, func(tx *outbox.Tx) error {
			tx.Announce(events...)
			return nil
		})
	if err != nil {
		w.t.Fatalf("an event that the sink refuses is no error: %v", err)
	}
	w.stored(events...)
}

// age ends the claims on all rows.
func (w *world) age() {
	w.t.Helper()
	tasktest.Exec(w.t, w.pool, "UPDATE codex_outbox SET claimed_until = now() - interval '1 second'")
}

// stored checks that the outbox holds exactly these events, in their order.
func (w *world) stored(want ...event.Event) {
	w.t.Helper()
	got := tasktest.Scan[[]string](w.t, w.pool, "SELECT coalesce(array_agg(event->>'id' ORDER BY id), '{}') FROM codex_outbox")
	if !slices.Equal(got, ids(want)) {
		w.t.Errorf("the outbox holds %v, want %v", got, ids(want))
	}
}

// published checks that the sink has each of these events once and no other.
// Events are published a few at a time: their order is not told.
func (w *world) published(want ...event.Event) {
	w.t.Helper()
	got, wanted := ids(w.sink.Events()), ids(want)
	slices.Sort(got)
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		w.t.Errorf("published %v, want %v", got, wanted)
	}
}

// relay checks what one Relay says.
func (w *world) relay(o *outbox.Outbox, limit int32, want int, wantErr error) {
	w.t.Helper()
	got, err := o.Relay(w.context, limit)
	if got.Sent != want || !errors.Is(err, wantErr) {
		w.t.Errorf("Relay(%d) = %+v, %v; want %d sent, %v", limit, got, err, want, wantErr)
	}
}

func ids(events []event.Event) []string {
	list := make([]string, len(events))
	for i, e := range events {
		list[i] = e.ID()
	}
	return list
}
