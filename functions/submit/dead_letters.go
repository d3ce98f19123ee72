package submit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// DeadLetters shows the events that no subscriber took, which finalize keeps, and sends them again.
type DeadLetters struct {
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	log    *slog.Logger
}

// LetterFilter says which dead letters to list.
type LetterFilter struct {
	// Type is that of the events; empty for all.
	Type string
	// Since is the moment from which on they were kept; zero for all.
	Since time.Time
	// Statuses are those to list; none for all.
	Statuses []api.DeadLetterStatus
	// Before is the id of the last letter of the page before; uuid.Max for the first page.
	Before uuid.UUID
	// Limit is the most letters to list.
	Limit int
}

// conditions are what the letter l is like in each state.
var conditions = map[api.DeadLetterStatus]string{
	api.DeadLetterStatusDead: "l.replayed_at IS NULL",
	api.DeadLetterStatusReplayed: "l.replayed_at IS NOT NULL AND " +
		"NOT EXISTS (SELECT FROM codex_dead_letters r WHERE r.replay_of = l.id)",
	api.DeadLetterStatusDiedAgain: "l.replayed_at IS NOT NULL AND " +
		"EXISTS (SELECT FROM codex_dead_letters r WHERE r.replay_of = l.id)",
}

// List is one page of dead letters without their events, newest first, and a cursor for the next.
func (d *DeadLetters) List(ctx context.Context, f LetterFilter) (api.DeadLetterPage, error) {
	sql, args := f.statement()
	rows, err := d.pool.Query(ctx, sql, args...)
	if err != nil {
		return api.DeadLetterPage{}, fmt.Errorf("list dead letters: %w", postgres.Classify(err))
	}
	letters, err := pgx.CollectRows(rows, scanLetter)
	if err != nil {
		return api.DeadLetterPage{}, fmt.Errorf("list dead letters: %w", postgres.Classify(err))
	}
	page := api.DeadLetterPage{DeadLetters: letters}
	if len(letters) > f.Limit {
		page.DeadLetters = letters[:f.Limit]
		page.NextCursor = cursor{Before: letters[f.Limit-1].DeadLetterID}.String()
	}
	return page, nil
}

// statement is written for the filters at hand. Ids are UUIDv7: their order is that of age.
func (f LetterFilter) statement() (string, []any) {
	where, args := []string{"l.id < $1"}, []any{f.Before}
	if f.Type != "" {
		args = append(args, f.Type)
		where = append(where, fmt.Sprintf("l.type = $%d", len(args)))
	}
	if !f.Since.IsZero() {
		args = append(args, f.Since)
		where = append(where, fmt.Sprintf("l.created_at >= $%d", len(args)))
	}
	if len(f.Statuses) > 0 {
		states := make([]string, len(f.Statuses))
		for i, status := range f.Statuses {
			states[i] = conditions[status]
		}
		where = append(where, "(("+strings.Join(states, ") OR (")+"))")
	}
	return fmt.Sprintf(`SELECT l.id, l.event_id, l.source, l.type, l.subject, l.destination, l.error_code, l.error,
		l.created_at, l.replayed_at, coalesce(l.replayed_by, ''), l.replay_of,
		EXISTS (SELECT FROM codex_dead_letters r WHERE r.replay_of = l.id)
		FROM codex_dead_letters l WHERE %s ORDER BY l.id DESC LIMIT %d`, strings.Join(where, " AND "), f.Limit+1), args
}

func scanLetter(row pgx.CollectableRow) (api.DeadLetter, error) {
	var l api.DeadLetter
	var again bool
	err := row.Scan(&l.DeadLetterID, &l.EventID, &l.Source, &l.Type, &l.Subject, &l.Destination, &l.ErrorCode, &l.Error,
		&l.CreatedAt, &l.ReplayedAt, &l.ReplayedBy, &l.ReplayOf, &again)
	l.CreatedAt, l.ReplayedAt = l.CreatedAt.UTC(), utc(l.ReplayedAt)
	l.Status = letterStatus(l.ReplayedAt, again)
	return l, err
}

func letterStatus(replayedAt *time.Time, again bool) api.DeadLetterStatus {
	switch {
	case replayedAt == nil:
		return api.DeadLetterStatusDead
	case again:
		return api.DeadLetterStatusDiedAgain
	default:
		return api.DeadLetterStatusReplayed
	}
}

// Get is one dead letter with its event. It fails with problem.ErrNotFound.
func (d *DeadLetters) Get(ctx context.Context, id uuid.UUID) (api.DeadLetter, error) {
	row, err := query.New(d.pool).GetDeadLetter(ctx, id)
	if err != nil {
		return api.DeadLetter{}, letterError(id, err)
	}
	return letterOf(row), nil
}

func letterError(id uuid.UUID, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.ErrNotFound.With("There is no dead letter %s.", id)
	}
	return fmt.Errorf("read dead letter %s: %w", id, postgres.Classify(err))
}

func letterOf(row query.GetDeadLetterRow) api.DeadLetter {
	letter := api.DeadLetter{
		DeadLetterID: row.ID, Status: letterStatus(row.ReplayedAt, len(row.Replays) > 0), EventID: row.EventID,
		Source: row.Source, Type: row.Type, Subject: row.Subject, Destination: row.Destination, Error: row.Error,
		CreatedAt: row.CreatedAt.UTC(), ReplayedAt: utc(row.ReplayedAt), ReplayedBy: text(row.ReplayedBy),
		ReplayOf: row.ReplayOf, Event: row.Event, Replays: row.Replays,
	}
	if row.ErrorCode != nil {
		letter.ErrorCode = new(int(*row.ErrorCode))
	}
	return letter
}

// Replay sends a dead letter's event to the Broker again, for an operator. Only the first time: an event that dies again
// is a letter of its own, which names this one. It fails with problem.ErrNotFound, and with problem.ErrConflict for an
// event that cannot be sent.
func (d *DeadLetters) Replay(ctx context.Context, id uuid.UUID, operator string) (api.DeadLetter, error) {
	var letter api.DeadLetter
	err := d.outbox.Transact(ctx, func(tx *outbox.Tx) error {
		row, err := tx.GetDeadLetter(ctx, id)
		if err != nil {
			return letterError(id, err)
		}
		e, err := replayed(row)
		if err != nil {
			return problem.ErrConflict.With("The event of dead letter %s cannot be sent again: %v.", id, err)
		}
		first, err := tx.ReplayDeadLetter(ctx, operator, id)
		if err != nil {
			return fmt.Errorf("mark dead letter %s as replayed: %w", id, err)
		}
		if first > 0 {
			tx.Announce(e)
			tx.AfterCommit(func(ctx context.Context) {
				d.log.InfoContext(ctx, "dead letter replayed", "id", id, "type", row.Type, "subject", row.Subject, "by", operator)
			})
		}
		if row, err = tx.GetDeadLetter(ctx, id); err != nil {
			return letterError(id, err)
		}
		letter = letterOf(row)
		return nil
	})
	return letter, err
}

// replayed is a letter's event as it is sent again: the same one, with the letter's id. Its data is in base64 in the
// outbox, whose jsonb cannot hold all that JSON can.
func replayed(row query.GetDeadLetterRow) (event.Event, error) {
	var e event.Event
	if err := json.Unmarshal(row.Event, &e); err != nil {
		return e, fmt.Errorf("it is no CloudEvent: %w", err)
	}
	if err := e.Validate(); err != nil {
		return e, fmt.Errorf("it is no valid CloudEvent: %w", err)
	}
	e.SetExtension(event.ExtensionReplayOf, row.ID.String())
	e.DataBase64 = len(e.DataEncoded) > 0
	encoded, err := json.Marshal(e)
	if err != nil {
		return e, fmt.Errorf("it cannot be encoded: %w", err)
	}
	if bytes.Contains(encoded, []byte(`\u0000`)) {
		return e, errors.New("an attribute has the character U+0000")
	}
	return e, nil
}
