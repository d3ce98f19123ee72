package finalize

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"testing"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/sink"
	"github.com/graf-run/graf/shared/tasktest"
)

// picky is a sink that does not take events of one type.
type picky struct {
	events

	not string
	err error
}

func (p *picky) Send(ctx context.Context, e event.Event) error {
	if e.Type() == p.not {
		return p.err
	}
	return p.events.Send(ctx, e)
}

// TestRelayGoesOn: what the sink does not take is no reason to leave what comes after it, however much that is.
func TestRelayGoesOn(t *testing.T) {
	t.Parallel()
	refused := &sink.RefusedError{Status: http.StatusRequestEntityTooLarge, Answer: "4 MiB at most"}
	lost := errors.New("no answer")
	for name, c := range map[string]struct {
		first int // events that the sink does not take
		err   error
		want  error
		sent  int
	}{
		"one is lost":            {1, lost, outbox.ErrUnpublished, 2*relayBatch - 1},
		"one is refused":         {1, refused, nil, 2*relayBatch - 1},
		"a batch is refused":     {relayBatch, refused, nil, relayBatch},
		"none of a batch is got": {relayBatch, lost, outbox.ErrUnpublished, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			to := &picky{not: event.TypeTaskRequested, err: c.err}
			f.outbox = outbox.New(f.pool, to, slog.New(slog.DiscardHandler))
			f.leave(t, event.TypeTaskRequested, c.first, "31 seconds")
			f.leave(t, event.TypeQueueDue, 2*relayBatch-c.first, "31 seconds")
			if err := f.relay(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if sent := len(to.types()); sent != c.sent {
				t.Errorf("%d were published, want %d", sent, c.sent)
			}
			if left := tasktest.Scan[int](t, f.pool, `SELECT count(*) FROM codex_outbox`); left != 2*relayBatch-c.sent {
				t.Errorf("%d are left, want %d", left, 2*relayBatch-c.sent)
			}
		})
	}
}

// leave puts events into the outbox that were announced a while ago.
func (f *fixture) leave(t *testing.T, typ string, n int, ago string) {
	t.Helper()
	e := event.New(t.Context(), typ, event.SourceFinalize, "", json.RawMessage(`{}`))
	tasktest.Exec(t, f.pool, `INSERT INTO codex_outbox (event, claimed_until, created_at)
		SELECT $1::jsonb || jsonb_build_object('id', i::text), now() - interval '1 second', now() - $2::interval
		FROM generate_series(1, $3) i`, e, ago, n)
}

// What the Broker does not take as it is becomes a dead letter in the end, which can be mended and sent again; what it
// takes no more for another reason waits.
func TestRefusedEventIsGivenUp(t *testing.T) {
	t.Parallel()
	refused := &sink.RefusedError{Status: http.StatusRequestEntityTooLarge, Answer: "4 MiB at most"}
	const letter = "413 http://broker: the sink answered 413 Request Entity Too Large: 4 MiB at most"
	for name, c := range map[string]struct {
		err  error
		ago  string
		want string
		left int
	}{
		"for long":      {refused, "11 minutes", letter, 0},
		"not for long":  {refused, "9 minutes", "", 1},
		"away for long": {errors.New("no answer"), "3 hours", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.config.Sink.URL = "http://broker"
			f.outbox = outbox.New(f.pool, &picky{not: event.TypeTaskRequested, err: c.err}, slog.New(slog.DiscardHandler))
			f.leave(t, event.TypeTaskRequested, 1, c.ago)
			if err := f.relay(t.Context()); err != nil && !errors.Is(err, outbox.ErrUnpublished) {
				t.Error(err)
			}
			got := tasktest.Scan[string](t, f.pool, `SELECT coalesce(string_agg(error_code || ' ' || destination || ': ' || error, ''), '')
				FROM codex_dead_letters WHERE event ->> 'type' = $1`, event.TypeTaskRequested)
			left := tasktest.Scan[int](t, f.pool, `SELECT count(*) FROM codex_outbox`)
			if got != c.want || left != c.left {
				t.Errorf("dead letter %q, %d in the outbox; want %q, %d", got, left, c.want, c.left)
			}
		})
	}
}
