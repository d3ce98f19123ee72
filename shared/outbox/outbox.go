// Package outbox joins a change of state with the events that announce it: both
// commit in one transaction (the transactional outbox pattern), so that neither
// is there without the other. The process that committed publishes the events
// at once; what it could not publish, the sweep does by Relay. An event may
// therefore be published twice, never not at all.
package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/sink"
)

// claim is how long the writer of a row has to publish it before the sweep may.
const claim = 30 * time.Second

// publishTimeout bounds the publishing of one batch. What is not done by then is
// left to a later sweep, so that a sink that hangs does not take all of this one's time.
const publishTimeout = 5 * time.Second

// deleteTimeout bounds the deletion of what was published.
const deleteTimeout = 2 * time.Second

// afterCommitTimeout bounds what is done between the commit and the publishing.
const afterCommitTimeout = 2 * time.Second

// publishers bounds the events that one batch has under way.
const publishers = 8

// Sink takes one event; *sink.Client is the real one.
type Sink interface {
	Send(context.Context, event.Event) error
}

// Outbox writes to one database and publishes to one sink.
type Outbox struct {
	pool *pgxpool.Pool
	sink Sink
	log  *slog.Logger
}

// New makes an outbox; it does no I/O.
func New(pool *pgxpool.Pool, sink Sink, log *slog.Logger) *Outbox {
	return &Outbox{pool: pool, sink: sink, log: log}
}

// Tx is a transaction that can announce what it changes.
type Tx struct {
	*query.Queries
	// Raw is the transaction itself, for statements that sqlc cannot type.
	Raw    pgx.Tx
	events []event.Event
	ended  []uuid.UUID
	after  []func(context.Context)
}

// Announce adds events that are published if, and only if, the transaction commits.
func (t *Tx) Announce(events ...event.Event) { t.events = append(t.events, events...) }

// AfterCommit adds what is done if, and only if, the transaction commits, and
// before its events are published: what their consumers count on, such as a slot
// that is free again. It is best effort, as the process may end at the commit,
// and has 2 s together with all others.
func (t *Tx) AfterCommit(f func(context.Context)) { t.after = append(t.after, f) }

// Transact runs fn in a transaction, commits it with the events that fn
// announced, and publishes those. fn may be run again (see postgres.Transact).
// An error means that nothing was committed; that an event could not be
// published is logged and no error, because the sweep will publish it.
func (o *Outbox) Transact(ctx context.Context, fn func(*Tx) error) error {
	var rows []row
	var committed *Tx
	err := postgres.Transact(ctx, o.pool, func(raw pgx.Tx) error {
		tx := &Tx{Queries: query.New(raw), Raw: raw}
		if err := fn(tx); err != nil {
			return err
		}
		var err error
		rows, err = appendEvents(ctx, tx)
		committed = tx
		return err
	})
	if err != nil {
		return err
	}
	// The state is committed: a caller that goes away must not stop what follows.
	ctx = context.WithoutCancel(ctx)
	committed.runAfter(ctx)
	for _, task := range committed.ended {
		if err := postgres.NotifyTask(ctx, o.pool, task); err != nil {
			o.log.WarnContext(ctx, "followers will look by themselves", "error", err)
		}
	}
	if len(rows) > 0 {
		o.publish(ctx, rows)
	}
	return nil
}

func (t *Tx) runAfter(ctx context.Context) {
	if len(t.after) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, afterCommitTimeout)
	defer cancel()
	for _, f := range t.after {
		f(ctx)
	}
}

// Relayed is what became of the events that one Relay took up.
type Relayed struct {
	// Claimed is how many it took up, of which Sent is how many it published.
	Claimed, Sent int
	// Refused are those that the sink does not take as they are: for them, it is not to be waited for. They are left in
	// the outbox until Drop.
	Refused []Refusal
}

// Refusal is an event that the sink refuses.
type Refusal struct {
	ID    int64
	Event event.Event
	// Since is when the event was announced.
	Since  time.Time
	Reason *sink.RefusedError
}

// Relay publishes up to limit events that their writers left behind, the oldest
// first. An event that the sink does not take does not hold up the others; it is
// left for a later Relay, and unless the event is to blame the error is
// ErrUnpublished.
func (o *Outbox) Relay(ctx context.Context, limit int32) (Relayed, error) {
	claimed, err := query.New(o.pool).ClaimOutbox(ctx, claim, limit)
	if err != nil {
		return Relayed{}, fmt.Errorf("claim outbox rows: %w", err)
	}
	rows := make([]row, 0, len(claimed))
	for _, c := range claimed {
		var e event.Event
		if err := json.Unmarshal(c.Event, &e); err != nil {
			// Nothing but AppendOutbox writes here: say it loudly, keep the row.
			o.log.ErrorContext(ctx, "outbox row is not an event", "row", c.ID, "error", err)
			continue
		}
		rows = append(rows, row{id: c.ID, event: e, since: c.CreatedAt})
	}
	sent, refused := o.publish(ctx, rows)
	relayed := Relayed{Claimed: len(claimed), Sent: sent, Refused: refused}
	if left := len(rows) - sent - len(refused); left > 0 {
		return relayed, fmt.Errorf("%d of %d events were not published: %w", left, len(rows), ErrUnpublished)
	}
	return relayed, nil
}

// Drop forgets an event that was refused.
func (o *Outbox) Drop(ctx context.Context, refused Refusal) error {
	if err := query.New(o.pool).DeleteOutbox(ctx, []int64{refused.ID}); err != nil {
		return fmt.Errorf("drop event %s of the outbox: %w", refused.Event.ID(), err)
	}
	return nil
}

// ErrUnpublished says that the sink did not take every event.
var ErrUnpublished = errors.New("the sink did not take the event")

type row struct {
	id    int64
	event event.Event
	since time.Time
}

func appendEvents(ctx context.Context, tx *Tx) ([]row, error) {
	if len(tx.events) == 0 {
		return nil, nil
	}
	encoded := make([]json.RawMessage, len(tx.events))
	for i, e := range tx.events {
		b, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("encode event %s: %w", e.Type(), err)
		}
		encoded[i] = b
	}
	ids, err := tx.AppendOutbox(ctx, encoded, claim)
	if err != nil {
		return nil, fmt.Errorf("append to the outbox: %w", err)
	}
	rows := make([]row, len(ids))
	for i, id := range ids {
		rows[i] = row{id: id, event: tx.events[i]}
	}
	return rows, nil
}

// publish sends rows a few at a time, deletes those that were taken, and tells
// how many that were, and which the sink refuses.
func (o *Outbox) publish(ctx context.Context, rows []row) (int, []Refusal) {
	ids, refused := o.send(ctx, rows)
	if len(ids) == 0 {
		return 0, refused
	}
	// Time that ran out while one event was sent must not have the others sent again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
	defer cancel()
	if err := query.New(o.pool).DeleteOutbox(ctx, ids); err != nil {
		o.log.WarnContext(ctx, "published events stay in the outbox and will be sent again", "error", err)
	}
	return len(ids), refused
}

// send gives rows to the sink and tells the ids of those that it took, and which it refuses.
func (o *Outbox) send(ctx context.Context, rows []row) ([]int64, []Refusal) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	errs := make([]error, len(rows))
	var wg sync.WaitGroup
	slots := make(chan struct{}, publishers)
	for i, r := range rows {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if errs[i] = o.sink.Send(ctx, r.event); errs[i] != nil {
				o.log.WarnContext(ctx, "event not published; the sweep will", "type", r.event.Type(),
					"subject", r.event.Subject(), "error", errs[i])
			}
		})
	}
	wg.Wait()
	ids := make([]int64, 0, len(rows))
	var refused []Refusal
	for i, r := range rows {
		if reason, is := errors.AsType[*sink.RefusedError](errs[i]); is {
			refused = append(refused, Refusal{ID: r.id, Event: r.event, Since: r.since, Reason: reason})
		} else if errs[i] == nil {
			ids = append(ids, r.id)
		}
	}
	return ids, refused
}
