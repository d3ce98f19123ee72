package outbox_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/eventtest"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/tasktest"
)

// The sink holds each event to its schema.
func TestFinishedIsAnnouncedWithItsOutcome(t *testing.T) {
	t.Parallel()
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for name, end := range map[string]func(*testing.T, *world, uuid.UUID){
		"task.finished.succeeded": func(t *testing.T, w *world, id uuid.UUID) {
			tasktest.Launch(t, w.pool, id)
			tasktest.Report(t, w.pool, id, "progress", "half")
			tasktest.Report(t, w.pool, id, "completed", "done")
			w.artifacts(id, "verified", "verified", "rejected")
			w.step(id, "finalizing", "")
			w.step(id, "succeeded", "diff_digest = '"+digest+"'")
		},
		"task.finished.timed_out": func(t *testing.T, w *world, id uuid.UUID) {
			tasktest.Launch(t, w.pool, id)
			w.step(id, "finalizing", "")
			w.step(id, "timed_out", "failure_class = 'timeout', failure_reason = 'it took longer than 1m0s'")
		},
		"task.finished.cancelled": func(_ *testing.T, w *world, id uuid.UUID) {
			w.step(id, "cancelled", "failure_class = 'cancelled', failure_reason = 'cancelled by ci before it started'")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			id := tasktest.Queued(t, w.pool, tasktest.Task{}).ID
			end(t, w, id)
			task := tasktest.Get(t, w.pool, id)
			if err := w.finish(task); err != nil {
				t.Fatal(err)
			}
			events := w.sink.About(id.String())
			if len(events) != 1 {
				t.Fatalf("%d events, want one", len(events))
			}
			eventtest.Golden(t, name, events[0])
			checkTimes(t, events[0], task)
		})
	}
}

// checkTimes checks what a golden event leaves open.
func checkTimes(t *testing.T, e event.Event, task query.Task) {
	t.Helper()
	data, err := delivery.Data[event.TaskFinished](e)
	if err != nil {
		t.Fatal(err)
	}
	if data.TaskID != task.ID {
		t.Errorf("the event is about task %s, want %s", data.TaskID, task.ID)
	}
	if want := task.FinishedAt.Sub(task.CreatedAt).Milliseconds(); data.DurationMs != want {
		t.Errorf("durationMs = %d, want %d", data.DurationMs, want)
	}
	if !data.FinishedAt.Equal(*task.FinishedAt) || data.FinishedAt.Location() != time.UTC {
		t.Errorf("finishedAt = %v, want %v in UTC", data.FinishedAt, task.FinishedAt)
	}
}

// finish announces the end of a task in a transaction, after which further
// functions run in it.
func (w *world) finish(task query.Task, more ...func() error) error {
	return w.outbox.Transact(w.context, func(tx *outbox.Tx) error {
		if err := tx.AnnounceFinished(w.context, event.SourceFinalize, task); err != nil {
			return err
		}
		for _, f := range more {
			if err := f(); err != nil {
				return err
			}
		}
		return nil
	})
}

// step moves a task to a status and sets further columns.
func (w *world) step(id uuid.UUID, status, set string) {
	w.t.Helper()
	if set != "" {
		set = ", " + set
	}
	tasktest.Exec(w.t, w.pool, "UPDATE codex_tasks SET status = $2, updated_by = 'test'"+set+" WHERE id = $1", id, status)
}

func (w *world) artifacts(id uuid.UUID, statuses ...string) {
	w.t.Helper()
	for _, status := range statuses {
		tasktest.Exec(w.t, w.pool, `INSERT INTO codex_task_artifacts
			(id, task_id, event_sequence, name, content_type, size_bytes, sha256, object_key, status)
			VALUES ($1, $2, 1, 'log.txt', 'text/plain', 1, '\x00', gen_random_uuid(), $3)`,
			uuid.Must(uuid.NewV7()), id, status)
	}
}

func TestFollowersAreWokenAfterTheCommit(t *testing.T) {
	t.Parallel()
	w := setup(t)
	id := tasktest.Queued(t, w.pool, tasktest.Task{}).ID
	w.step(id, "cancelled", "")
	task := tasktest.Get(t, w.pool, id)
	follower := w.follow()

	errOwn := errors.New("on second thoughts")
	if err := w.finish(task, func() error { return errOwn }); !errors.Is(err, errOwn) {
		t.Fatalf("got %v, want %v", err, errOwn)
	}
	// Notifications come in the order of their commits: what was sent too early,
	// or for a transaction that failed, would come before the mark.
	mark := uuid.Nil
	if err := w.finish(task, func() error { return postgres.NotifyTask(w.context, w.pool, mark) }); err != nil {
		t.Fatal(err)
	}
	for i, want := range []uuid.UUID{mark, id} {
		got, err := follower.WaitForNotification(w.context)
		if err != nil {
			t.Fatal(err)
		}
		if got.Channel != postgres.TaskChannel || got.Payload != want.String() {
			t.Errorf("notification %d: %s on %s, want %s on %s", i+1, got.Payload, got.Channel, want, postgres.TaskChannel)
		}
	}
}

// follow listens to what is told of tasks.
func (w *world) follow() *pgx.Conn {
	w.t.Helper()
	conn, err := pgx.ConnectConfig(w.context, w.pool.Config().ConnConfig)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close(w.context) })
	if _, err := conn.Exec(w.context, "LISTEN "+postgres.TaskChannel); err != nil {
		w.t.Fatal(err)
	}
	return conn
}
