//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/uuid"
)

// eventSource is the one of these tests in GRAF_EVENT_SOURCES of the local overlay.
const eventSource = "/cluster/e2e"

// TestEventSubmits asks for a task with an event that is written by hand: HTTP
// headers and a JSON body, no SDK.
func TestEventSubmits(t *testing.T) {
	s := newSystem(t)
	submission := s.working(t, "Do what the event asks for.", "")
	body, err := json.Marshal(submission)
	must(t, err)
	header := http.Header{
		"Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"}, "Ce-Id": {s.run}, "Ce-Source": {eventSource},
		"Ce-Type": {"dev.graf.codex.task.requested.v1"},
	}
	s.send(t, header, body)
	s.send(t, header, body) // source and id are its key
	var id uuid.UUID
	eventually(t, "the event becomes a task", func() bool {
		return s.pool.QueryRow(within(t), `SELECT id FROM codex_tasks WHERE prompt = $1`, submission.Prompt).Scan(&id) == nil
	})
	s.awaitEnds(t, id)
	s.checkSteps(t, "succeeded", id)
	var tasks int
	var caller string
	must(t, s.pool.QueryRow(within(t), `SELECT count(*), min(caller) FROM codex_tasks WHERE prompt = $1`,
		submission.Prompt).Scan(&tasks, &caller))
	if tasks != 1 || caller != "e2e" {
		t.Errorf("the event became %d tasks of caller %s", tasks, caller)
	}
	s.checkNothingLeft(t)
}
