package migrations_test

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// step is a status change; from is empty where a task begins.
type step struct{ from, to string }

// machine reads the diagram of docs/architecture.md, which is what the schema
// must enforce: neither can change without the other.
func machine(t *testing.T) []step {
	t.Helper()
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, diagram, found := strings.Cut(string(text), "```mermaid\nstateDiagram-v2\n")
	if !found {
		t.Fatal("docs/architecture.md has no state diagram")
	}
	diagram, _, _ = strings.Cut(diagram, "```")
	arrow := regexp.MustCompile(`^(\[\*\]|[a-z_]+) --> ([a-z_]+)(: .+)?$`)
	var steps []step
	for line := range strings.Lines(diagram) {
		m := arrow.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			t.Fatalf("the state diagram has a line that is no step: %q", line)
		}
		steps = append(steps, step{strings.TrimPrefix(m[1], "[*]"), m[2]})
	}
	return steps
}

// statuses are those that a task's row may have.
func (d *database) statuses() []string {
	d.t.Helper()
	return list[string](d, `SELECT DISTINCT m[1] FROM pg_constraint, regexp_matches(pg_get_constraintdef(oid), '''(\w+)''', 'g') m
		WHERE conname = 'codex_tasks_status_check'`)
}

func TestDiagramHasEveryStatus(t *testing.T) {
	t.Parallel()
	var drawn []string
	for _, s := range machine(t) {
		drawn = append(drawn, s.to)
	}
	slices.Sort(drawn)
	drawn = slices.Compact(drawn)
	known := migrated(t).statuses()
	slices.Sort(known)
	if !slices.Equal(drawn, known) {
		t.Errorf("the diagram has %v, the schema %v", drawn, known)
	}
}

// Every pair of statuses, those that are not next to each other above all.
func TestStateMachine(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	allowed := machine(t)
	for _, from := range append(d.statuses(), "") {
		for _, to := range d.statuses() {
			if from == to {
				continue // TestOtherChangesAreNotAudited
			}
			d.check(allowed, step{from, to})
		}
	}
}

// check tries one step in a transaction that is rolled back.
func (d *database) check(allowed []step, s step) {
	d.t.Helper()
	tx, err := d.conn.Begin(d.context)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(d.context) }()
	if s.from == "" {
		_, err = tx.Exec(d.context, insertTask, s.to)
	} else {
		steps := way(allowed, s.from)
		d.exec(insertTask, steps[0])
		for _, on := range steps[1:] {
			d.move(on)
		}
		_, err = tx.Exec(d.context, `UPDATE codex_tasks SET status = $1`, s.to)
	}
	var refused *pgconn.PgError
	switch want := slices.Contains(allowed, s); {
	case want && err != nil:
		d.t.Errorf("%q to %q: %v, want it allowed", s.from, s.to, err)
	case !want && (!errors.As(err, &refused) || refused.Code != "GR001"):
		d.t.Errorf("%q to %q: %v, want it refused with GR001", s.from, s.to, err)
	}
}

// way gives the shortest way to a status, from one in which tasks begin.
func way(allowed []step, to string) []string {
	ways := map[string][]string{"": {}}
	for reached := []string{""}; len(reached) > 0; reached = reached[1:] {
		for _, s := range allowed {
			if _, known := ways[s.to]; s.from == reached[0] && !known {
				ways[s.to] = append(slices.Clone(ways[s.from]), s.to)
				reached = append(reached, s.to)
			}
		}
	}
	return ways[to]
}

const insertTask = `INSERT INTO codex_tasks
	(id, caller, idempotency_key, request_digest, status, updated_by, prompt, agent, priority, timeout_seconds, max_attempts)
	VALUES (gen_random_uuid(), 'ci', 'key', '\x00', $1, 'graf/submit', 'p', '{}', 5, 60, 2)`

// insert stores the one task that these tests have.
func (d *database) insert() {
	d.t.Helper()
	d.exec(insertTask, "queued")
}

// move takes the task to a status and sets further columns.
func (d *database) move(to string, set ...string) {
	d.t.Helper()
	columns := append([]string{"status = $1"}, set...)
	d.exec("UPDATE codex_tasks SET "+strings.Join(columns, ", "), to)
}

// walk takes the task through two attempts to a success.
func (d *database) walk() {
	d.t.Helper()
	d.insert()
	d.move("launching", "updated_by = 'graf/launch'", "attempt = 1")
	d.move("running")
	d.move("finalizing", "updated_by = 'graf/finalize'", "failure_reason = 'exit code 1'")
	d.move("queued")
	d.move("launching", "updated_by = 'graf/launch'", "attempt = 2", "failure_reason = NULL")
	d.move("running")
	d.move("finalizing", "updated_by = 'graf/finalize'")
	d.move("succeeded", "diff_digest = 'sha256:d1'")
}

func TestEachStepIsAudited(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	begun := list[string](d, "SELECT clock_timestamp()::text")[0]
	d.walk()
	got := list[string](d, `SELECT format('%s>%s attempt %s by %s: %s %s', from_status, to_status, attempt, actor, reason, diff_digest)
		FROM codex_task_transitions WHERE task_id = (SELECT id FROM codex_tasks) ORDER BY id`)
	want := []string{
		">queued attempt 0 by graf/submit:  ",
		"queued>launching attempt 1 by graf/launch:  ",
		"launching>running attempt 1 by graf/launch:  ",
		"running>finalizing attempt 1 by graf/finalize: exit code 1 ",
		"finalizing>queued attempt 1 by graf/finalize: exit code 1 ",
		"queued>launching attempt 2 by graf/launch:  ",
		"launching>running attempt 2 by graf/launch:  ",
		"running>finalizing attempt 2 by graf/finalize:  ",
		"finalizing>succeeded attempt 2 by graf/finalize:  sha256:d1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the audit is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := list[int](d, `SELECT count(*) FROM (
			SELECT occurred_at, lag(occurred_at, 1, $1::timestamptz) OVER (ORDER BY id) AS earlier FROM codex_task_transitions) AS steps
		WHERE occurred_at <= earlier OR occurred_at > clock_timestamp()`, begun)[0]; n > 0 {
		t.Errorf("%d steps have not the time at which they were made", n)
	}
}

// What the API shows of a task's course are the times at which the schema saw it.
func TestEachStepIsStamped(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	d.walk()
	const last = `SELECT max(occurred_at) FROM codex_task_transitions WHERE to_status = `
	for column, step := range map[string]string{
		"queued_at":     last + `'queued'`,
		"launching_at":  last + `'launching'`,
		"started_at":    `SELECT min(occurred_at) FROM codex_task_transitions WHERE to_status = 'running'`, // the first attempt's
		"finalizing_at": last + `'finalizing'`,
		"finished_at":   last + `'succeeded'`,
		"updated_at":    last + `'succeeded'`,
	} {
		// The row is stamped just before its audit is written.
		near := list[bool](d, `SELECT coalesce(`+column+` <= (`+step+`) AND NOT EXISTS (
				SELECT FROM codex_task_transitions WHERE occurred_at >= `+column+` AND occurred_at < (`+step+`)), false)
			FROM codex_tasks`)[0]
		if !near {
			t.Errorf("%s is not the time of its step", column)
		}
	}
}

func TestOtherChangesAreNotAudited(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	d.insert()
	const count = "SELECT count(*) FROM codex_task_transitions"
	d.exec("UPDATE codex_tasks SET status = 'queued', cancel_requested_at = now()")
	d.exec("UPDATE codex_tasks SET last_event_sequence = 1")
	if n := list[int](d, count)[0]; n != 1 {
		t.Errorf("the audit has %d rows, want the first alone", n)
	}
	if changed := list[bool](d, "SELECT updated_at > created_at FROM codex_tasks")[0]; !changed {
		t.Error("updated_at is not the time of the last change")
	}
}

func TestAuditCannotBeChanged(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	d.insert()
	for statement, want := range map[string]string{
		"UPDATE codex_task_transitions SET actor = 'nobody'": "GR002",
		"DELETE FROM codex_task_transitions":                 "GR002",
		"TRUNCATE codex_task_transitions":                    "GR002",
		"TRUNCATE codex_tasks CASCADE":                       "GR002",
		"DELETE FROM codex_tasks":                            "23503", // the audit refers to them
	} {
		_, err := d.conn.Exec(d.context, statement)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != want {
			t.Errorf("%s: %v, want it refused with %s", statement, err, want)
		}
	}
	if got := list[string](d, "SELECT actor FROM codex_task_transitions"); !slices.Equal(got, []string{"graf/submit"}) {
		t.Errorf("the audit is by %v, want graf/submit alone", got)
	}
}
