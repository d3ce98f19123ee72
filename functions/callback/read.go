package callback

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// maxPageBytes is about the most that one page holds: a page ends early rather
// than that hundreds of large events fill the memory.
const maxPageBytes = 4 << 20

// Reader shows events.
type Reader struct{ pool *pgxpool.Pool }

// Status is the task's status. It fails with problem.ErrNotFound.
func (r *Reader) Status(ctx context.Context, task uuid.UUID) (string, error) {
	status, err := query.New(r.pool).GetTaskStatus(ctx, task)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", problem.ErrNotFound.With("There is no task %s.", task)
	}
	if err != nil {
		return "", fmt.Errorf("read the status of task %s: %w", task, postgres.Classify(err))
	}
	return status, nil
}

const eventsAfter = `SELECT e.sequence, e.event_id, e.event_type, e.attempt, e.content, e.occurred_at, e.received_at,
	(SELECT jsonb_agg(jsonb_build_object('name', a.name, 'contentType', a.content_type, 'sizeBytes', a.size_bytes,
	                                     'sha256', encode(a.sha256, 'hex')) ORDER BY a.id)
	 FROM codex_task_artifacts a WHERE a.task_id = e.task_id AND a.event_sequence = e.sequence),
	(SELECT json_build_object('type', s.type, 'manifests', s.manifests, 'diff', s.diff)
	 FROM codex_task_snapshots s WHERE s.task_id = e.task_id AND s.event_sequence = e.sequence)
	FROM codex_task_events e WHERE e.task_id = $1 AND e.sequence > $2 ORDER BY e.sequence LIMIT $3`

// After gives up to limit events of the task with sequence numbers above after,
// in their order, and whether there are more.
func (r *Reader) After(ctx context.Context, task uuid.UUID, after int64, limit int) ([]api.TaskEvent, bool, error) {
	rows, err := r.pool.Query(ctx, eventsAfter, task, after, limit+1)
	if err != nil {
		return nil, false, fmt.Errorf("read events of task %s: %w", task, postgres.Classify(err))
	}
	defer rows.Close()
	events, size, more := []api.TaskEvent{}, 0, false
	for rows.Next() {
		if len(events) == limit || size > maxPageBytes {
			more = true
			break
		}
		event, bytes, err := scanEvent(rows)
		if err != nil {
			return nil, false, fmt.Errorf("read events of task %s: %w", task, postgres.Classify(err))
		}
		events, size = append(events, event), size+bytes
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, false, fmt.Errorf("read events of task %s: %w", task, postgres.Classify(err))
	}
	return events, more, nil
}

// scanEvent reads a row and tells about how many bytes it has.
func scanEvent(row pgx.Row) (api.TaskEvent, int, error) {
	var e api.TaskEvent
	var content, artifacts, snapshot json.RawMessage
	err := row.Scan(&e.Sequence, &e.EventID, &e.EventType, &e.Attempt, &content, &e.OccurredAt, &e.ReceivedAt, &artifacts, &snapshot)
	if err != nil {
		return e, 0, err
	}
	e.Content = content
	e.OccurredAt, e.ReceivedAt = new(e.OccurredAt.UTC()), e.ReceivedAt.UTC()
	if artifacts != nil {
		err = errors.Join(err, json.Unmarshal(artifacts, &e.Artifacts))
	}
	if snapshot != nil {
		err = errors.Join(err, json.Unmarshal(snapshot, &e.Snapshot))
	}
	return e, len(content) + len(artifacts) + len(snapshot), err
}

// cursor is where a page ended. Clients get it as text that they only give back.
type cursor struct {
	After int64 `json:"after"`
}

func (c cursor) String() string {
	// A struct of one number can always be encoded.
	encoded, _ := json.Marshal(c)
	return base64.RawURLEncoding.EncodeToString(encoded)
}

// parseCursor reads a cursor; empty text is the first page.
func parseCursor(text string) (cursor, error) {
	if text == "" {
		return cursor{}, nil
	}
	bad := problem.ErrBadRequest.Fields(problem.FieldError{Parameter: "cursor",
		Detail: "must be the nextCursor of a page before"})
	encoded, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return cursor{}, bad
	}
	var c cursor
	decoder := json.NewDecoder(strings.NewReader(string(encoded)))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&c) != nil || decoder.More() || c.After < 1 {
		return cursor{}, bad
	}
	return c, nil
}
