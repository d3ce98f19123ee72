package submit_test

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/apitest"
	"github.com/graf-run/graf/shared/event"
)

const letters = "/v1/codex/dead-letters"

// kept puts a dead letter into the database as finalize does.
func (w *world) kept(typ, sent string, replayOf *string) string {
	w.t.Helper()
	id := uuid.Must(uuid.NewV7()).String()
	w.exec(`INSERT INTO codex_dead_letters (id, event_id, source, type, subject, destination, error_code, error, event, replay_of)
		VALUES ($1::uuid, $1::text, '/test', $2, 'task-1', 'http://graf-submit', 403, 'not listed', $3, $4)`, id, typ, sent, replayOf)
	return id
}

// operator sends a request of caller ops, who is an operator in these tests.
func (w *world) operator(method, path string, status int, into any) {
	w.t.Helper()
	res := w.request(method, path, otherToken, "")
	data := apitest.CheckResponse(w.t, res)
	if res.StatusCode != status {
		w.t.Fatalf("%s %s: status %d, want %d: %s", method, path, res.StatusCode, status, data)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			w.t.Fatal(err)
		}
	}
}

const (
	oddEvent = `{"specversion":"1.0","id":"e1","source":"/test","type":"t.a","subject":"task-1","datacontenttype":"application/json",` +
		`"data":{"text":"a\u0000b","n":1e999999}}`
	plainEvent = `{"specversion":"1.0","id":"e2","source":"/test","type":"t.b","subject":"task-1","data":{"n":1}}`
)

func TestDeadLettersAreForOperators(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]*world{"another is": setup(t, "GRAF_OPERATORS", "ops"), "nobody is": setup(t)} {
		id := w.kept("t.a", plainEvent, nil)
		for _, target := range [][2]string{{"GET", letters}, {"GET", letters + "/" + id}, {"POST", letters + "/" + id + "/replay"}} {
			res := w.request(target[0], target[1], testToken, "")
			if apitest.CheckResponse(t, res); res.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %v: status %d, want 403", name, target, res.StatusCode)
			}
			if res := w.request(target[0], target[1], "", ""); res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: %v without a token: status %d, want 401", name, target, res.StatusCode)
			}
		}
		if n := w.count("SELECT count(*) FROM codex_outbox"); n != 0 {
			t.Errorf("%s: %d events wait to be sent", name, n)
		}
	}
}

func TestListDeadLetters(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_OPERATORS", "ops")
	dead := w.kept("t.a", oddEvent, nil)
	replayed := w.kept("t.b", plainEvent, nil)
	again := w.kept("t.a", oddEvent, nil)
	child := w.kept("t.a", oddEvent, &again)
	w.exec(`UPDATE codex_dead_letters SET replayed_at = now(), replayed_by = 'ops' WHERE id IN ($1, $2)`, replayed, again)
	w.exec(`UPDATE codex_dead_letters SET created_at = '2026-01-05T10:00:00Z' WHERE id = $1`, dead)
	for query, want := range map[string][]string{
		"":                                {child, again, replayed, dead},
		"?type=t.a":                       {child, again, dead},
		"?type=t":                         {},
		"?status=dead":                    {child, dead},
		"?status=replayed":                {replayed},
		"?status=died_again":              {again},
		"?status=dead&status=died_again":  {child, again, dead},
		"?since=2026-01-05T10:00:01Z":     {child, again, replayed},
		"?since=2026-01-05T10:00:00Z":     {child, again, replayed, dead},
		"?type=t.a&status=dead&limit=200": {child, dead},
	} {
		var page api.DeadLetterPage
		w.operator(http.MethodGet, letters+query, http.StatusOK, &page)
		w.wantLetters(query, page, want)
	}
	var first, second api.DeadLetterPage
	w.operator(http.MethodGet, letters+"?limit=3", http.StatusOK, &first)
	w.operator(http.MethodGet, letters+"?limit=3&cursor="+first.NextCursor, http.StatusOK, &second)
	w.wantLetters("the first page", first, []string{child, again, replayed})
	w.wantLetters("the second page", second, []string{dead})
	if second.NextCursor != "" {
		t.Error("there is a third page")
	}
	for _, query := range []string{"?limit=0", "?status=alive", "?since=yesterday", "?cursor=x", "?kind=x"} {
		w.operator(http.MethodGet, letters+query, http.StatusBadRequest, nil)
	}
}

func (w *world) wantLetters(what string, page api.DeadLetterPage, want []string) {
	w.t.Helper()
	if len(page.DeadLetters) != len(want) {
		w.t.Errorf("%s: %d letters, want %d", what, len(page.DeadLetters), len(want))
		return
	}
	for i, letter := range page.DeadLetters {
		if letter.DeadLetterID.String() != want[i] || letter.Event != nil {
			w.t.Errorf("%s: letter %d is %+v, want %s without its event", what, i, letter, want[i])
		}
	}
}

func TestReplayDeadLetter(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_OPERATORS", "ops")
	id := w.kept("t.a", oddEvent, nil)
	var letter api.DeadLetter
	w.operator(http.MethodGet, letters+"/"+id, http.StatusOK, &letter)
	if letter.Status != api.DeadLetterStatusDead || string(letter.Event) != oddEvent || *letter.ErrorCode != 403 {
		t.Errorf("letter %+v", letter)
	}
	var wg sync.WaitGroup
	for range 4 { // many at once send it once
		wg.Go(func() {
			if res := w.request(http.MethodPost, letters+"/"+id+"/replay", otherToken, ""); res.StatusCode != http.StatusAccepted {
				t.Errorf("status %d", res.StatusCode)
			}
		})
	}
	wg.Wait()
	w.operator(http.MethodPost, letters+"/"+id+"/replay", http.StatusAccepted, &letter)
	if letter.Status != api.DeadLetterStatusReplayed || letter.ReplayedBy != "ops" || letter.ReplayedAt == nil {
		t.Errorf("letter %+v", letter)
	}
	w.sink.Wait(w.context, t, "task-1", 1)
	sent := w.sink.About("task-1")
	if len(sent) != 1 {
		t.Fatalf("sent %d times", len(sent))
	}
	e := sent[0]
	if e.ID() != "e1" || e.Type() != "t.a" || e.Extensions()[event.ExtensionReplayOf] != id ||
		string(e.Data()) != `{"text":"a\u0000b","n":1e999999}` {
		t.Errorf("sent %s with %q", e, e.Data())
	}
	if n := w.count(`SELECT count(*) FROM codex_operations WHERE operation = 'dead_letter.replay' AND actor = 'ops' AND subject = $1`, id); n != 1 {
		t.Errorf("%d entries in the audit, want 1", n)
	}
	child := w.kept("t.a", oddEvent, &id)
	w.operator(http.MethodGet, letters+"/"+id, http.StatusOK, &letter)
	if letter.Status != api.DeadLetterStatusDiedAgain || len(letter.Replays) != 1 || letter.Replays[0].String() != child {
		t.Errorf("letter %+v", letter)
	}
	w.operator(http.MethodPost, letters+"/"+child+"/replay", http.StatusAccepted, &letter)
	if letter.ReplayOf == nil || letter.ReplayOf.String() != id || letter.Status != api.DeadLetterStatusReplayed {
		t.Errorf("letter %+v", letter)
	}
}

// What the Broker does not take now stays in the outbox for the sweep.
func TestReplayWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_OPERATORS", "ops")
	w.sink.Refuse(true)
	for _, sent := range []string{oddEvent, plainEvent} {
		w.operator(http.MethodPost, letters+"/"+w.kept("t", sent, nil)+"/replay", http.StatusAccepted, nil)
	}
	if n := w.count("SELECT count(*) FROM codex_outbox WHERE event->>'subject' = 'task-1'"); n != 2 {
		t.Errorf("%d events wait in the outbox, want 2", n)
	}
}

func TestReplayRefuses(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_OPERATORS", "ops")
	for _, sent := range []string{
		`{}`, `[]`, `{"specversion":"1.0","id":"","source":"/test","type":"t"}`,
		`{"specversion":"1.0","id":"e","source":"/test","type":"t","subject":"a\u0000b"}`,
	} {
		id := w.kept("t", sent, nil)
		w.operator(http.MethodPost, letters+"/"+id+"/replay", http.StatusConflict, nil)
		if n := w.count("SELECT count(*) FROM codex_dead_letters WHERE id = $1 AND replayed_at IS NULL", id); n != 1 {
			t.Errorf("%s is marked as replayed", sent)
		}
	}
	for path, status := range map[string]int{"/" + uuid.Must(uuid.NewV7()).String(): 404, "/x": 400} {
		w.operator(http.MethodGet, letters+path, status, nil)
		w.operator(http.MethodPost, letters+path+"/replay", status, nil)
	}
}
