// Package tasktest puts tasks into a test's database in the state that a test
// needs, along the transitions that the schema allows.
package tasktest

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgres/query"
)

// Task is what a test wants of a task; zero fields take a default.
type Task struct {
	Prompt      string
	Caller      string
	Namespaces  []string
	Priority    int
	MaxAttempts int
	Agent       string // JSON
	Before      string // manifests as a JSON array; empty for no snapshot
	Mode        string // its orchestration mode; empty for direct
}

// Queued stores a task as submit would, with its prompt as a memory.
func Queued(t testing.TB, pool *pgxpool.Pool, task Task) query.Task {
	t.Helper()
	fill(&task)
	id := uuid.Must(uuid.NewV7())
	Exec(t, pool, `INSERT INTO codex_tasks
		(id, caller, idempotency_key, request_digest, updated_by, prompt, namespaces, agent, priority,
		 timeout_seconds, max_attempts, orchestration_mode)
		VALUES ($1, $2, $3, '\x00', 'test', $4, $5, $6, $7, 60, $8, $9)`,
		id, task.Caller, id.String(), task.Prompt, task.Namespaces, task.Agent, task.Priority, task.MaxAttempts, task.Mode)
	err := memory.Write(context.Background(), query.New(pool), memory.Task{ID: id, Namespaces: task.Namespaces},
		memory.Part{Kind: memory.KindPrompt, Text: task.Prompt})
	if err != nil {
		t.Fatal(err)
	}
	if task.Before != "" {
		Snapshot(t, pool, id, "before", 0, task.Before)
	}
	return Get(t, pool, id)
}

func fill(task *Task) {
	if task.Prompt == "" {
		task.Prompt = "Give the broker filter a memory limit."
	}
	if task.Caller == "" {
		task.Caller = "test"
	}
	if task.Namespaces == nil {
		task.Namespaces = []string{"default"}
	}
	if task.MaxAttempts == 0 {
		task.MaxAttempts = 1
	}
	if task.Mode == "" {
		task.Mode = "direct"
	}
	if task.Agent == "" {
		task.Agent = `{"kind": "command", "command": ["true"]}`
	}
}

// Running stores a task whose first attempt runs, as a Workflow if its mode is argo and else as a Job.
func Running(t testing.TB, pool *pgxpool.Pool, task Task) query.Task {
	t.Helper()
	queued := Queued(t, pool, task)
	Launch(t, pool, queued.ID)
	return Get(t, pool, queued.ID)
}

// Launch moves a queued task to running, as its next attempt.
func Launch(t testing.TB, pool *pgxpool.Pool, id uuid.UUID) {
	t.Helper()
	Exec(t, pool, `UPDATE codex_tasks SET status = 'launching', updated_by = 'test', attempt = attempt + 1 WHERE id = $1`, id)
	Exec(t, pool, `INSERT INTO codex_task_attempts
		(task_id, attempt, prompt, execution_kind, execution_name, execution_namespace, execution_uid)
		SELECT id, attempt, prompt, CASE orchestration_mode WHEN 'argo' THEN 'Workflow' ELSE 'Job' END, 'codex-' || id || '-' || attempt, 'graf', 'uid-' || attempt
		FROM codex_tasks WHERE id = $1`, id)
	Exec(t, pool, `UPDATE codex_tasks SET status = 'running', updated_by = 'test',
		deadline_at = now() + interval '1 minute' WHERE id = $1`, id)
}

// Snapshot stores manifests, a JSON array, as the attempt's state.
func Snapshot(t testing.TB, pool *pgxpool.Pool, id uuid.UUID, typ string, attempt int, manifests string) {
	t.Helper()
	Exec(t, pool, `INSERT INTO codex_task_snapshots (id, task_id, type, attempt, manifests, digest)
		VALUES ($1, $2, $3, $4, $5, 'sha256:test')`, uuid.Must(uuid.NewV7()), id, typ, attempt, manifests)
}

// Report stores an event that the present attempt's agent reported.
func Report(t testing.TB, pool *pgxpool.Pool, id uuid.UUID, eventType, content string) {
	t.Helper()
	Exec(t, pool, `WITH task AS (
			UPDATE codex_tasks SET last_event_sequence = last_event_sequence + 1 WHERE id = $1
			RETURNING id, last_event_sequence, attempt)
		INSERT INTO codex_task_events (task_id, sequence, event_id, event_type, attempt, content, occurred_at)
		SELECT id, last_event_sequence, 'event-' || last_event_sequence, $2, attempt, to_jsonb($3::text), now() FROM task`,
		id, eventType, content)
}

// Get reads a task.
func Get(t testing.TB, pool *pgxpool.Pool, id uuid.UUID) query.Task {
	t.Helper()
	task, err := query.New(pool).GetTask(context.Background(), id)
	if err != nil {
		t.Fatalf("read task %s: %v", id, err)
	}
	return task
}

// Exec runs a statement that must succeed.
func Exec(t testing.TB, pool *pgxpool.Pool, statement string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(context.Background(), statement, args...); err != nil {
		t.Fatalf("%v in %s", err, statement)
	}
}

// Scan reads one value.
func Scan[T any](t testing.TB, pool *pgxpool.Pool, statement string, args ...any) T {
	t.Helper()
	var value T
	if err := pool.QueryRow(context.Background(), statement, args...).Scan(&value); err != nil {
		t.Fatalf("%v in %s", err, statement)
	}
	return value
}

// Transitions lists the steps that the audit has of a task, as "from>to".
func Transitions(t testing.TB, pool *pgxpool.Pool, id uuid.UUID) []string {
	t.Helper()
	return Scan[[]string](t, pool, fmt.Sprintf(`SELECT array_agg(coalesce(from_status, '') || '>' || to_status ORDER BY id)
		FROM codex_task_transitions WHERE task_id = '%s'`, id))
}
