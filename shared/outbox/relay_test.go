package outbox_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/sink"
	"github.com/graf-run/graf/shared/tasktest"
)

// all is more than any of these tests leaves.
const all = 100

func TestRelayWaitsForTheWriter(t *testing.T) {
	t.Parallel()
	w := setup(t)
	events := submittedMany(w.context, 3)
	w.leave(events...)
	w.relay(w.outbox, all, 0, nil) // the writer's claim still holds
	w.published()
	w.stored(events...)

	w.age()
	w.relay(w.outbox, all, 3, nil)
	w.published(events...)
	w.stored()
	w.relay(w.outbox, all, 0, nil)
}

func TestRelayTakesTheOldestFirst(t *testing.T) {
	t.Parallel()
	w := setup(t)
	events := submittedMany(w.context, 5)
	w.leave(events...)
	w.age()
	w.relay(w.outbox, 2, 2, nil)
	w.published(events[:2]...)
	w.stored(events[2:]...)
}

// What one Relay could not publish is not tried again at once, and does not
// hold up the others.
func TestRelayClaimsWhatItCouldNotPublish(t *testing.T) {
	t.Parallel()
	w := setup(t)
	events := submittedMany(w.context, 12)
	w.leave(events...)
	w.age()
	w.relay(w.through(shutFor(events[:4])), all, 8, outbox.ErrUnpublished)
	w.published(events[4:]...)
	w.stored(events[:4]...)

	w.relay(w.outbox, all, 0, nil)
	w.age()
	w.relay(w.outbox, all, 4, nil)
	w.published(events...)
	w.stored()
}

// What is wrong with an event itself is no fault of the sink, and is the caller's to judge.
func TestRelayTellsWhatIsRefused(t *testing.T) {
	t.Parallel()
	w := setup(t)
	events := submittedMany(w.context, 3)
	w.leave(events...)
	w.age()
	refusing := w.through(func(_ context.Context, e event.Event) error {
		if e.ID() == events[1].ID() {
			return fmt.Errorf("send: %w", &sink.RefusedError{Status: http.StatusRequestEntityTooLarge, Answer: "too large"})
		}
		return nil
	})
	got, err := refusing.Relay(w.context, all)
	if err != nil || got.Claimed != 3 || got.Sent != 2 || len(got.Refused) != 1 {
		t.Fatalf("Relay = %+v, %v; want 2 of 3 sent, one refused", got, err)
	}
	refused := got.Refused[0]
	if refused.Event.ID() != events[1].ID() || refused.Reason.Status != http.StatusRequestEntityTooLarge || time.Since(refused.Since) > timeout {
		t.Errorf("refused is %+v", refused)
	}
	w.stored(events[1])
	if err := refusing.Drop(w.context, refused); err != nil {
		t.Error(err)
	}
	w.stored()
}

func TestRelayOfAnAwaySinkLosesNothing(t *testing.T) {
	t.Parallel()
	w := setup(t)
	events := submittedMany(w.context, 3)
	w.leave(events...)
	w.age()
	w.sink.Refuse(true)
	w.relay(w.outbox, all, 0, outbox.ErrUnpublished)
	w.stored(events...)

	w.sink.Refuse(false)
	w.age()
	w.relay(w.outbox, all, 3, nil)
	w.published(events...)
}

// Time runs out while one event is on its way: those that the sink has taken are
// still deleted, or they would be sent again for certain.
func TestRelayThatRunsOutOfTimeForgetsWhatWasTaken(t *testing.T) {
	t.Parallel()
	w := setup(t)
	events := submittedMany(w.context, 2)
	w.leave(events...)
	w.age()
	ctx, cancel := context.WithCancel(w.context)
	defer cancel()
	taken := make(chan struct{})
	o := outbox.New(w.pool, sinkFunc(func(ctx context.Context, e event.Event) error {
		if e.ID() == events[0].ID() {
			defer close(taken)
			return w.client.Send(ctx, e)
		}
		<-taken
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}), quiet)
	if relayed, err := o.Relay(ctx, all); relayed.Sent != 1 || err == nil {
		t.Errorf("Relay = %+v, %v; want 1 and an error", relayed, err)
	}
	w.published(events[0])
	w.stored(events[1])
}

func TestRelaysAtOncePublishEachEventOnce(t *testing.T) {
	t.Parallel()
	w := setup(t)
	const n = 60
	events := submittedMany(w.context, n)
	w.leave(events...)
	w.age()
	var wg sync.WaitGroup
	sent := make([]int, 4)
	for i := range sent {
		wg.Go(func() {
			for {
				relayed, err := w.outbox.Relay(w.context, 7)
				if err != nil {
					t.Error(err)
				}
				if sent[i] += relayed.Sent; err != nil || relayed.Sent == 0 {
					return
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for _, count := range sent {
		total += count
	}
	if total != n {
		t.Errorf("the relays say that they published %v, %d together, want %d", sent, total, n)
	}
	w.published(events...)
	w.stored()
}

func TestRelayKeepsARowThatIsNoEvent(t *testing.T) {
	t.Parallel()
	w := setup(t)
	tasktest.Exec(t, w.pool, `INSERT INTO codex_outbox (event, claimed_until) VALUES ('{"id": "odd"}', now() - interval '1 minute')`)
	e := submitted(w.context)
	// Not by leave, which checks what is stored.
	tasktest.Exec(t, w.pool, `INSERT INTO codex_outbox (event, claimed_until) VALUES ($1, now() - interval '1 minute')`, e)
	w.relay(w.outbox, all, 1, nil)
	w.published(e)
	if n := tasktest.Scan[int](t, w.pool, "SELECT count(*) FROM codex_outbox WHERE event->>'id' = 'odd'"); n != 1 {
		t.Errorf("%d rows that are no event, want it kept", n)
	}
}
