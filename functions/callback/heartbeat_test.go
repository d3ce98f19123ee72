package callback_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/problem"
)

const beat = `{"eventId":"beat","eventType":"heartbeat"}`

func (w *world) launched(k task, attempt int) {
	w.t.Helper()
	w.exec("INSERT INTO codex_task_attempts (task_id, attempt) VALUES ($1, $2)", k.id, attempt)
}

func (w *world) seen(k task, attempt int) *time.Time {
	w.t.Helper()
	return one[*time.Time](w, "SELECT last_seen_at FROM codex_task_attempts WHERE task_id = $1 AND attempt = $2", k.id, attempt)
}

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	w.launched(k, 1)
	if accepted := w.postAs(k, w.token(k, "attempt 1"), beat); len(accepted.Events) != 0 {
		t.Errorf("accepted %+v", accepted)
	}
	first := w.seen(k, 1)
	if first == nil || time.Since(*first) > time.Minute {
		t.Fatalf("seen at %v", first)
	}
	// The same id again is another sign of life, and among other events it takes no number.
	accepted := w.post(k, "["+beat+","+event("a", "x")+","+beat+"]")
	if len(accepted.Events) != 1 || accepted.Events[0].EventID != "a" || accepted.Events[0].Sequence != 1 {
		t.Errorf("accepted %+v", accepted)
	}
	if again := w.seen(k, 1); !again.After(*first) {
		t.Errorf("seen at %v, then at %v", first, again)
	}
	if got := w.page(k, "").Events; len(got) != 1 {
		t.Errorf("events %+v", got)
	}
	// It is announced as the report of one event.
	if got := w.sink.Wait(w.context, t, k.id.String(), 1); len(got) != 1 {
		t.Errorf("%d events were sent", len(got))
	}
}

func TestHeartbeatsOfWhatDoesNotRun(t *testing.T) {
	t.Parallel()
	w := setup(t)
	queued, ended, retried, unknown := w.task(), w.running(), w.running(), w.running()
	w.launched(ended, 1)
	w.launched(retried, 1)
	first := w.token(retried, "attempt 1")
	w.move(ended, "finalizing", "failed")
	w.move(retried, "finalizing", "queued", "launching", "running")
	w.launched(retried, 2)
	for name, c := range map[string]struct {
		task
		token string
	}{
		"queued": {queued, queued.token}, "ended": {ended, ended.token}, "an earlier attempt": {retried, first},
		"without an attempt": {unknown, unknown.token},
	} {
		status, data := w.request(http.MethodPost, c.path(), c.token, beat)
		if wantProblem(t, status, data, problem.ErrConflict); t.Failed() {
			t.Fatal(name)
		}
	}
	if w.seen(ended, 1) != nil || w.seen(retried, 1) != nil {
		t.Error("attempts that do not run were seen")
	}
	// What an earlier attempt still has to say is kept, whatever comes with it.
	if accepted := w.postAs(retried, first, "["+event("a", "x")+","+beat+"]"); len(accepted.Events) != 1 {
		t.Errorf("accepted %+v", accepted)
	}
	w.postAs(retried, w.token(retried, "attempt 2"), beat)
	if w.seen(retried, 2) == nil {
		t.Error("the second attempt was not seen")
	}
}
