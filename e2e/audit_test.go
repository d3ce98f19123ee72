//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/limiter"
)

// terminal are the statuses that a task never leaves.
var terminal = []string{"succeeded", "failed", "cancelled", "timed_out"}

// transition is a row of the audit.
type transition struct {
	Task     uuid.UUID
	Attempt  int16
	From, To string
	At       time.Time
}

// steps are the audited steps of these tasks, in their order.
func (s *system) steps(t *testing.T, ids ...uuid.UUID) []transition {
	t.Helper()
	rows, err := s.pool.Query(within(t), `SELECT task_id, attempt, coalesce(from_status, ''), to_status, occurred_at
FROM codex_task_transitions WHERE task_id = ANY($1) ORDER BY id`, ids)
	must(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[transition])
	must(t, err)
	return all
}

// awaitCount waits until so many of the tasks have one of these statuses.
// Postgres may be away meanwhile.
func (s *system) awaitCount(t *testing.T, ids []uuid.UUID, count int, statuses ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d of %d tasks are %s", count, len(ids), strings.Join(statuses, " or ")), func() bool {
		var found int
		err := s.pool.QueryRow(within(t), `SELECT count(*) FROM codex_tasks WHERE id = ANY($1) AND status = ANY($2)`,
			ids, statuses).Scan(&found)
		return err == nil && found >= count
	})
}

// awaitEnds waits until all tasks have ended.
func (s *system) awaitEnds(t *testing.T, ids ...uuid.UUID) {
	t.Helper()
	s.awaitCount(t, ids, len(ids), terminal...)
}

// checkSteps fails unless the tasks, which have ended, went through the state
// machine once: each step from where the last led, one of them to an end.
func (s *system) checkSteps(t *testing.T, status string, ids ...uuid.UUID) {
	t.Helper()
	path := map[uuid.UUID][]string{}
	for _, step := range s.steps(t, ids...) {
		if last := path[step.Task]; len(last) > 0 && last[len(last)-1] != step.From {
			t.Errorf("task %s went from %s, but was %s", step.Task, step.From, last[len(last)-1])
		}
		path[step.Task] = append(path[step.Task], step.To)
	}
	for _, id := range ids {
		steps := path[id]
		if len(steps) == 0 || steps[len(steps)-1] != status {
			t.Errorf("task %s went %v, not to %s: %s", id, steps, status, s.failure(t, id))
		}
		ends := slices.DeleteFunc(slices.Clone(steps), func(to string) bool { return !slices.Contains(terminal, to) })
		if len(ends) != 1 {
			t.Errorf("task %s ended %d times: %v", id, len(ends), steps)
		}
	}
}

// failure is why a task failed, with its prompt.
func (s *system) failure(t *testing.T, id uuid.UUID) string {
	t.Helper()
	var why string
	must(t, s.pool.QueryRow(within(t),
		`SELECT left(prompt, 80) || ': ' || coalesce(failure_class || ': ' || failure_reason, '') FROM codex_tasks WHERE id = $1`, id).Scan(&why))
	return why
}

// checkNothingLeft waits until no event is unpublished and no slot is held, and
// fails if there are dead letters of Graf's own events since the test began.
func (s *system) checkNothingLeft(t *testing.T) {
	t.Helper()
	s.awaitQuiet(t)
	s.checkNoDeadLetters(t)
}

// awaitQuiet waits until no event is unpublished and no slot is held.
func (s *system) awaitQuiet(t *testing.T) {
	t.Helper()
	eventually(t, "all events are published", func() bool {
		var left int
		err := s.pool.QueryRow(within(t), `SELECT count(*) FROM codex_outbox`).Scan(&left)
		return err == nil && left == 0
	})
	eventually(t, "all slots are free", func() bool {
		held, waiting, err := s.slots(t).Count(within(t))
		return err == nil && held == 0 && waiting == 0
	})
}

// checkNoDeadLetters looks for dead letters of events since the test began. An earlier test's may become one only now: the
// Broker tries for over a minute to deliver what was under way to a Trigger that was taken away. Letters that were for no
// destination are of such a Trigger, which the dispatcher may deliver to for a moment after it is gone.
func (s *system) checkNoDeadLetters(t *testing.T) {
	t.Helper()
	rows, err := s.pool.Query(within(t), `SELECT type || ' to ' || destination || ': ' || error FROM codex_dead_letters
WHERE coalesce((event->>'time')::timestamptz, created_at) > $1 AND type NOT LIKE 'dev.graf.e2e.%' AND destination <> ''`, s.started)
	must(t, err)
	letters, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	if len(letters) > 0 {
		t.Errorf("dead letters: %s", strings.Join(letters, "; "))
	}
}

func (s *system) slots(t *testing.T) *limiter.Slots {
	t.Helper()
	slots, err := limiter.NewSlots(s.redis, limiter.SlotsConfig{LaunchLease: time.Minute})
	must(t, err)
	return slots
}
