package submit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/problem"
)

// Filter says which tasks to list.
type Filter struct {
	// Statuses are those to list; none for all.
	Statuses []api.TaskStatus
	// Tags are those a task must carry, all of them.
	Tags []string
	// Before is the id of the last task of the page before; uuid.Max for the first page.
	Before uuid.UUID
	// Limit is the most tasks to list.
	Limit int
}

// List is one page of tasks, newest first, and a cursor for the next.
func (r *Reader) List(ctx context.Context, f Filter) (api.TaskPage, error) {
	sql, args := f.statement()
	rows, err := r.pool.Query(ctx, sql, args...)
	if err != nil {
		return api.TaskPage{}, fmt.Errorf("list tasks: %w", postgres.Classify(err))
	}
	tasks, err := pgx.CollectRows(rows, scanSummary)
	if err != nil {
		return api.TaskPage{}, fmt.Errorf("list tasks: %w", postgres.Classify(err))
	}
	page := api.TaskPage{Tasks: tasks}
	if len(tasks) > f.Limit {
		page.Tasks = tasks[:f.Limit]
		page.NextCursor = cursor{Before: page.Tasks[f.Limit-1].TaskID}.String()
	}
	return page, nil
}

// statement is written for the filters at hand, so that each combination gets
// the plan that its indexes allow. Ids are UUIDv7: their order is that of age.
// One task more than the limit tells whether there is another page.
func (f Filter) statement() (string, []any) {
	where, args := []string{"id < $1"}, []any{f.Before}
	add := func(condition string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if len(f.Statuses) > 0 {
		add("status = ANY($%d::text[])", f.Statuses)
	}
	if len(f.Tags) > 0 {
		add("tags @> $%d::text[]", f.Tags)
	}
	return fmt.Sprintf(`SELECT id, retry_of, status, caller, orchestration_mode, priority, attempt, max_attempts,
		tags, failure_class, failure_reason, created_at, updated_at, finished_at
		FROM codex_tasks WHERE %s ORDER BY id DESC LIMIT %d`, strings.Join(where, " AND "), f.Limit+1), args
}

func scanSummary(row pgx.CollectableRow) (api.TaskSummary, error) {
	var s api.TaskSummary
	var class, reason *string
	err := row.Scan(&s.TaskID, &s.RetryOf, &s.Status, &s.Caller, &s.OrchestrationMode, &s.Priority, &s.Attempt, &s.MaxAttempts,
		&s.Tags, &class, &reason, &s.CreatedAt, &s.UpdatedAt, &s.FinishedAt)
	s.Failure = failureOf(class, reason)
	s.CreatedAt, s.UpdatedAt, s.FinishedAt = s.CreatedAt.UTC(), s.UpdatedAt.UTC(), utc(s.FinishedAt)
	return s, err
}

// cursor is where a page ended. Clients get it as text that they only give back.
type cursor struct {
	Before uuid.UUID `json:"before"`
}

func (c cursor) String() string {
	// A struct of one UUID can always be encoded.
	encoded, _ := json.Marshal(c)
	return base64.RawURLEncoding.EncodeToString(encoded)
}

// parseCursor reads a cursor; empty text is the start of the list.
func parseCursor(text string) (cursor, error) {
	if text == "" {
		return cursor{Before: uuid.Max}, nil
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
	if decoder.Decode(&c) != nil || decoder.More() || c.Before == uuid.Nil {
		return cursor{}, bad
	}
	return c, nil
}

// utc shows a time the way all of the API's times are shown.
func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return new(t.UTC())
}
