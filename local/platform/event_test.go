package platform

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
)

// request is the event by which source asks for a task.
func request(t *testing.T, source string, submission api.TaskSubmission) event.Event {
	t.Helper()
	return event.New(within(t), event.TypeTaskRequested, source, "", submission)
}

// taskOf waits for the task that an event brought and returns its id.
func (s *system) taskOf(t *testing.T, prompt string) uuid.UUID {
	t.Helper()
	var id uuid.UUID
	eventually(t, "the event becomes a task", func() bool {
		return s.pool.QueryRow(within(t), `SELECT id FROM codex_tasks WHERE prompt = $1`, prompt).Scan(&id) == nil
	})
	return id
}

// awaitLetter waits until the event is a dead letter and returns why.
func (s *system) awaitLetter(t *testing.T, e event.Event) (code int, reason string) {
	t.Helper()
	eventually(t, "the event becomes a dead letter", func() bool {
		return s.pool.QueryRow(within(t), `SELECT error_code, error FROM codex_dead_letters WHERE event_id = $1 AND source = $2`,
			e.ID(), e.Source()).Scan(&code, &reason) == nil
	})
	return code, reason
}

func testEventSubmits(t *testing.T, s *system) {
	const prompt = "Do what the event asks for."
	e := request(t, "/local/cli", shell(prompt, "true"))
	s.send(t, e)
	s.send(t, e) // source and id are its key
	id := s.taskOf(t, prompt)
	task := s.awaitStatus(t, id, api.TaskStatusSucceeded)
	if task.Caller != "local" {
		t.Errorf("the caller is %q", task.Caller)
	}
	eventually(t, "all events are delivered", func() bool { return s.broker.Undelivered() == 0 })
	var tasks int
	must(t, s.pool.QueryRow(within(t), `SELECT count(*) FROM codex_tasks WHERE prompt = $1`, prompt).Scan(&tasks))
	if tasks != 1 {
		t.Errorf("one event became %d tasks", tasks)
	}
}

func testUnlistedSource(t *testing.T, s *system) {
	e := request(t, "/somebody/else", shell("Do what a stranger asks for.", "true"))
	s.send(t, e)
	code, reason := s.awaitLetter(t, e)
	if code != 403 || !strings.Contains(reason, "GRAF_EVENT_SOURCES") || !strings.Contains(reason, "/somebody/else") {
		t.Errorf("the dead letter says %d %s", code, reason)
	}
}

// testReplay sends every event of a finished task and of one in its second
// attempt to the Broker again, twice and in any order.
func testReplay(t *testing.T, s *system) {
	finished := s.submit(t, s.change("replayed", "Give the replayed pods a memory limit.", "256Mi", "", ""))
	submission := s.change("replaying", "Cut the memory of the replaying pods.", "32Mi",
		`if grep -q "Attempt 1 of 2 failed" "$GRAF_PROMPT_FILE"; then touch "$NOTE.again"; `+waitForGate+`; fi`, "", "--heed-failure")
	submission.MaxAttempts = new(2)
	running := s.submit(t, submission)
	s.awaitStatus(t, finished.TaskID, api.TaskStatusSucceeded)
	eventually(t, "the second attempt runs", func() bool { return exists(s.note("replaying.again")) })
	s.await(t, running.TaskID, "is running", func(task api.Task) bool {
		return task.Status == api.TaskStatusRunning && task.Attempt == 2
	})
	ids := []string{finished.TaskID.String(), running.TaskID.String()}
	s.awaitSettled(t, ids)
	before := s.state(t, ids)

	events := s.events.about(ids...)
	if len(events) < 15 {
		t.Fatalf("only %d events were recorded", len(events))
	}
	events = append(events, events...)
	rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for _, e := range events {
		s.send(t, e)
	}
	eventually(t, "all events are delivered", func() bool { return s.broker.Undelivered() == 0 })
	if after := s.state(t, ids); after != before {
		t.Errorf("replayed events changed\n%s\nto\n%s", before, after)
	}
	touch(t, s.note("replaying.gate"))
	s.awaitStatus(t, running.TaskID, api.TaskStatusSucceeded)
	s.checkSteps(t, "succeeded", finished.TaskID, running.TaskID)
}

// awaitSettled waits until nothing of the tasks is on its way: their texts have
// vectors, and the Broker has delivered their events.
func (s *system) awaitSettled(t *testing.T, ids []string) {
	t.Helper()
	eventually(t, "all texts have vectors", func() bool {
		var left int
		err := s.pool.QueryRow(within(t), `SELECT count(*) FROM codex_task_memory_index JOIN codex_memory_contents USING (content_hash)
WHERE task_id = ANY($1::uuid[]) AND embedded_as IS NULL`, ids).Scan(&left)
		return err == nil && left == 0
	})
	eventually(t, "all events are delivered", func() bool { return s.broker.Undelivered() == 0 })
}

// state is all that is stored of tasks, as text.
func (s *system) state(t *testing.T, ids []string) string {
	t.Helper()
	var b strings.Builder
	for _, part := range []struct{ table, key string }{
		{"codex_tasks", "id"}, {"codex_task_attempts", "task_id"}, {"codex_task_tokens", "task_id"},
		{"codex_task_transitions", "task_id"}, {"codex_task_events", "task_id"}, {"codex_task_artifacts", "task_id"},
		{"codex_task_snapshots", "task_id"}, {"codex_task_memory_index", "task_id"}, {"codex_task_recalls", "task_id"},
	} {
		var rows string
		must(t, s.pool.QueryRow(within(t), fmt.Sprintf(
			`SELECT coalesce(string_agg(r::text, E'\n' ORDER BY r::text), '') FROM %s r WHERE %s = ANY($1::uuid[])`, part.table, part.key),
			ids).Scan(&rows))
		fmt.Fprintf(&b, "%s\n%s\n", part.table, rows)
	}
	return b.String()
}
