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

// Relay publishes up to limit events that their writers left behind, the oldest
// first, and tells how many it published. An event that the sink does not take
// does not hold up the others; it is left for a later Relay, and the error is
// ErrUnpublished.
func (o *Outbox) Relay(ctx context.Context, limit int32) (int, error) {
	claimed, err := query.New(o.pool).ClaimOutbox(ctx, claim, limit)
	if err != nil {
		return 0, fmt.Errorf("claim outbox rows: %w", err)
	}
	rows := make([]row, 0, len(claimed))
	for _, c := range claimed {
		var e event.Event
		if err := json.Unmarshal(c.Event, &e); err != nil {
			// Nothing but AppendOutbox writes here: say it loudly, keep the row.
			o.log.ErrorContext(ctx, "outbox row is not an event", "row", c.ID, "error", err)
			continue
		}
		rows = append(rows, row{id: c.ID, event: e})
	}
	sent := o.publish(ctx, rows)
	if sent < len(rows) {
		return sent, fmt.Errorf("%d of %d events were not published: %w", len(rows)-sent, len(rows), ErrUnpublished)
	}
	return sent, nil
}

// ErrUnpublished says that the sink did not take every event.
var ErrUnpublished = errors.New("the sink did not take the event")

type row struct {
	id    int64
	event event.Event
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
// how many that were.
func (o *Outbox) publish(ctx context.Context, rows []row) int {
	ids := o.send(ctx, rows)
	if len(ids) == 0 {
		return 0
	}
	// Time that ran out while one event was sent must not have the others sent again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
	defer cancel()
	if err := query.New(o.pool).DeleteOutbox(ctx, ids); err != nil {
		o.log.WarnContext(ctx, "published events stay in the outbox and will be sent again", "error", err)
	}
	return len(ids)
}

// send gives rows to the sink and tells the ids of those that it took.
func (o *Outbox) send(ctx context.Context, rows []row) []int64 {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	taken := make([]bool, len(rows))
	var wg sync.WaitGroup
	slots := make(chan struct{}, publishers)
	for i, r := range rows {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := o.sink.Send(ctx, r.event); err != nil {
				o.log.WarnContext(ctx, "event not published; the sweep will", "type", r.event.Type(),
					"subject", r.event.Subject(), "error", err)
				return
			}
			taken[i] = true
		})
	}
	wg.Wait()
	ids := make([]int64, 0, len(rows))
	for i, ok := range taken {
		if ok {
			ids = append(ids, rows[i].id)
		}
	}
	return ids
}
