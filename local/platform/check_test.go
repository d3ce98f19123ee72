package platform

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/redisdb"
)

// terminal are the statuses that a task never leaves.
var terminal = []string{"succeeded", "failed", "cancelled", "timed_out"}

// transition is a row of the audit.
type transition struct {
	Task     uuid.UUID
	Attempt  int16
	From, To string
}

// steps are the audited steps of all tasks, in their order.
func (s *system) steps(t *testing.T) []transition {
	t.Helper()
	rows, err := s.pool.Query(within(t),
		`SELECT task_id, attempt, coalesce(from_status, ''), to_status FROM codex_task_transitions ORDER BY id`)
	must(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[transition])
	must(t, err)
	return all
}

// awaitEnds waits until all tasks have ended. Postgres may be away meanwhile.
func (s *system) awaitEnds(t *testing.T, ids ...uuid.UUID) {
	t.Helper()
	var last string
	eventually(t, fmt.Sprintf("%d tasks end", len(ids)), func() bool {
		var left int
		err := s.pool.QueryRow(within(t), `SELECT count(*), coalesce(string_agg(id || ' ' || status || ' ' || attempt, ', '), '')
FROM codex_tasks WHERE id = ANY($1) AND NOT status = ANY($2)`, ids, terminal).Scan(&left, &last)
		if t.Failed() {
			t.Fatal(last)
		}
		return err == nil && left == 0
	})
}

// checkSteps fails unless the tasks, which have ended, went through the state
// machine once: each step from where the last led, one of them to an end.
func (s *system) checkSteps(t *testing.T, status string, ids ...uuid.UUID) {
	t.Helper()
	path := map[uuid.UUID][]string{}
	for _, step := range s.steps(t) {
		if last := path[step.Task]; len(last) > 0 && last[len(last)-1] != step.From {
			t.Errorf("task %s went from %s, but was %s", step.Task, step.From, last[len(last)-1])
		}
		path[step.Task] = append(path[step.Task], step.To)
	}
	for _, id := range ids {
		steps := path[id]
		if len(steps) == 0 || steps[len(steps)-1] != status {
			t.Errorf("task %s went %v, not to %s", id, steps, status)
		}
		ends := slices.DeleteFunc(slices.Clone(steps), func(to string) bool { return !slices.Contains(terminal, to) })
		if len(ends) != 1 {
			t.Errorf("task %s ended %d times: %v", id, len(ends), steps)
		}
	}
}

// checkNothingLeft waits until no event is undelivered or unpublished and no
// slot is held, and fails if there are dead letters. A tick may be one: it is
// given up soon, because the next makes up for it.
func (s *system) checkNothingLeft(t *testing.T) {
	t.Helper()
	eventually(t, "all events are published", func() bool {
		var left int
		err := s.pool.QueryRow(within(t), `SELECT count(*) FROM codex_outbox`).Scan(&left)
		return err == nil && left == 0
	})
	eventually(t, "all events are delivered", func() bool { return s.broker.Undelivered() == 0 })
	client, err := redisdb.Open(redisdb.Config{URL: s.services.Connection().RedisURL})
	must(t, err)
	defer func() { _ = client.Close() }()
	slots, err := limiter.NewSlots(client, limiter.SlotsConfig{Global: 50, PerNamespace: 20, PerCaller: 25, LaunchLease: 5e9, LookAhead: 200})
	must(t, err)
	eventually(t, "all slots are free", func() bool {
		held, waiting, err := slots.Count(within(t))
		return err == nil && held == 0 && waiting == 0
	})
	cluster, err := kube.New(kube.Config{Kubeconfig: s.Platform.config.folder("kubeconfig"), Timeout: patience})
	must(t, err)
	eventually(t, "all service accounts of attempts are gone", func() bool {
		identities, err := cluster.ListIdentities(within(t), Namespace)
		return err == nil && len(identities) == 0
	})
	rows, err := s.pool.Query(within(t), `SELECT type || ' to ' || destination || ': ' || error FROM codex_dead_letters
		WHERE type <> 'dev.knative.sources.ping'`)
	must(t, err)
	letters, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	if len(letters) > 0 {
		t.Errorf("dead letters: %s", strings.Join(letters, "; "))
	}
}

// checkSecrets searches all that is stored and logged for tokens in clear: the
// API's, those given to submitters, and those that agents left in notes.
func (s *system) checkSecrets(t *testing.T) {
	t.Helper()
	tokens := s.allTokens(t)
	s.searchPostgres(t, tokens)
	search(t, "the functions' log", s.log.bytes(), tokens)
	s.searchFile(t, s.Platform.config.folder("broker.db"), tokens)
	err := filepath.WalkDir(s.services.Folder(), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "log" && entry.Type().IsRegular() {
			s.searchFile(t, path, tokens)
		}
		return err
	})
	must(t, err)
}

func (s *system) allTokens(t *testing.T) []string {
	t.Helper()
	s.mu.Lock()
	tokens := slices.Clone(s.tokens)
	s.mu.Unlock()
	files, err := filepath.Glob(s.note("*.tokens"))
	must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		tokens = append(tokens, strings.Fields(string(text))...)
	}
	return slices.DeleteFunc(tokens, func(token string) bool { return token == "" })
}

// searchPostgres looks at every row of every table as text.
func (s *system) searchPostgres(t *testing.T, tokens []string) {
	t.Helper()
	rows, err := s.pool.Query(within(t), `SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'`)
	must(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	if len(tables) < 10 {
		t.Fatalf("only %d tables to search", len(tables))
	}
	for _, table := range tables {
		rows, err := s.pool.Query(within(t), `SELECT r::text FROM `+pgx.Identifier{table}.Sanitize()+` r
WHERE EXISTS (SELECT FROM unnest($1::text[]) token WHERE strpos(r::text, token) > 0)`, tokens)
		must(t, err)
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		must(t, err)
		for _, row := range found {
			t.Errorf("a token in clear in table %s: %s", table, row)
		}
	}
}

func (s *system) searchFile(t *testing.T, path string, tokens []string) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	search(t, path, data, tokens)
}

func search(t *testing.T, where string, data []byte, tokens []string) {
	t.Helper()
	for _, token := range tokens {
		if at := bytes.Index(data, []byte(token)); at >= 0 {
			t.Errorf("a token in clear in %s: …%s…", where, data[max(0, at-200):min(len(data), at+100)])
		}
	}
}
