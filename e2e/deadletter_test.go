//go:build e2e

package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
)

// Delivery of this test's Trigger: three retries, the first after backoffDelay,
// each wait twice as long as the last.
const (
	retries      = 3
	backoffDelay = 500 * time.Millisecond
)

// TestDeadLetter has a subscriber fail until its event is a dead letter, and
// replays that as docs/runbooks/dead-letters.md says.
func TestDeadLetter(t *testing.T) {
	s := newSystem(t)
	eventType := "dev.graf.e2e." + s.run
	sub := s.subscribe(t, "failing", object{
		"filters": []any{object{"exact": object{"type": eventType}}},
		"delivery": object{
			"retry": int64(retries), "backoffPolicy": "exponential", "backoffDelay": "PT0.5S", "timeout": "PT10S",
			"deadLetterSink": object{
				"ref": object{"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "graf-finalize", "namespace": graf},
				"uri": "/dead-letters",
			},
		},
	})
	sub.answer(http.StatusServiceUnavailable)
	e := event.New(within(t), eventType, eventSource, s.run, map[string]string{"run": s.run})
	body, err := e.MarshalJSON()
	must(t, err)
	structured := http.Header{"Content-Type": {"application/cloudevents+json"}}
	s.send(t, structured, body)

	code := s.awaitLetter(t, e.ID())
	checkBackoff(t, sub.about(s.run))
	if code != http.StatusServiceUnavailable {
		t.Errorf("the dead letter says %d", code)
	}

	// The cause is mended.
	sub.answer(http.StatusNoContent)
	before := len(sub.about(s.run))
	letters := s.urls["submit"] + "/v1/codex/dead-letters"
	var page api.DeadLetterPage
	must(t, s.call(t, http.MethodGet, letters+"?status=dead&type="+eventType, nil, &page))
	if len(page.DeadLetters) != 1 {
		t.Fatalf("%d dead letters, want 1", len(page.DeadLetters))
	}
	letter := letters + "/" + page.DeadLetters[0].DeadLetterID.String()
	var replayed api.DeadLetter
	must(t, s.call(t, http.MethodPost, letter+"/replay", nil, &replayed))
	eventually(t, "the replayed event is delivered", func() bool { return len(sub.about(s.run)) > before })
	again := sub.about(s.run)[before]
	var data map[string]string
	must(t, again.DataAs(&data))
	if again.ID() != e.ID() || data["run"] != s.run {
		t.Errorf("replayed as %s %s", again.ID(), again.Data())
	}
	must(t, s.call(t, http.MethodGet, letter, nil, &replayed))
	if replayed.Status != api.DeadLetterStatusReplayed {
		t.Errorf("the letter is %s", replayed.Status)
	}
}

// awaitLetter waits until the event is a dead letter and returns its code.
func (s *system) awaitLetter(t *testing.T, id string) (code int) {
	t.Helper()
	eventually(t, "the event becomes a dead letter", func() bool {
		return s.pool.QueryRow(within(t), `SELECT error_code FROM codex_dead_letters WHERE event_id = $1`, id).Scan(&code) == nil
	})
	return code
}

// checkBackoff holds deliveries to the Trigger's backoff: only to its lower
// bounds, since a machine under load may always be later.
func checkBackoff(t *testing.T, tries []delivered) {
	t.Helper()
	if len(tries) != retries+1 {
		t.Fatalf("delivered %d times, not %d", len(tries), retries+1)
	}
	for i := 1; i < len(tries); i++ {
		least := backoffDelay << (i - 1)
		if waited := tries[i].at.Sub(tries[i-1].at); waited < least {
			t.Errorf("try %d came after %v, not %v", i+1, waited, least)
		}
	}
}
