package callback_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/eventtest"
)

// helloSHA256 is the digest of "hello".
const helloSHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

const wholeRun = `[
	{"eventId":"1","eventType":"started"},
	{"eventId":"2","eventType":"progress","content":"Read the Deployment of the web shop.","occurredAt":"2026-01-05T11:00:03+01:00"},
	{"eventId":"3","eventType":"log","content":"GET https://bot:hunter2@git.example.com -> 200, which is long enough to remember {\"user\":\"bob\",\"password\":\"hunter2\"}"},
	{"eventId":"4","eventType":"usage","content":{"inputTokens":1234,"count":12345678901234567890,"token":"hunter2"}},
	{"eventId":"5","eventType":"artifact","artifacts":[
		{"name":"report.md","contentType":"text/markdown","sizeBytes":5,"sha256":"` + helloSHA256 + `"},
		{"name":"empty.txt","contentType":"text/plain; charset=utf-8","sizeBytes":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]},
	{"eventId":"6","eventType":"snapshot","snapshot":{"type":"after","manifests":[
		{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"web","namespace":"shop","uid":"x"},"spec":{"replicas":3}},
		{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db","namespace":"shop"},"stringData":{"pw":"hunter2"}},
		{"apiVersion":"v1","kind":"List","metadata":{"name":"l"},"items":[
			{"apiVersion":"v1","kind":"Secret","metadata":{"name":"list","namespace":"shop"},"stringData":{"pw":"hunter2"}},
			{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"shop"},"spec":{"env":[{"name":"DB_PASSWORD","value":"hunter2"}]}}]}]}},
	{"eventId":"7","eventType":"snapshot","snapshot":{"type":"after","diff":"--- a\n+++ b\n-replicas: 1\n+password: hunter2\n"}},
	{"eventId":"8","eventType":"progress","content":"90 %"},
	{"eventId":"9","eventType":"completed","content":{"summary":"Raised the replicas to three.","lesson":"The quota was the reason."}}
]`

func TestReportIsStored(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	accepted := w.post(k, wholeRun)
	if len(accepted.Events) != 9 || len(accepted.Uploads) != 2 {
		t.Fatalf("accepted %+v", accepted)
	}
	for i, e := range accepted.Events {
		if e.Sequence != int64(i+1) || e.EventID != string(rune('1'+i)) {
			t.Errorf("event %d is accepted as %+v", i, e)
		}
	}
	events := w.page(k, "").Events
	if len(events) != 9 || events[1].OccurredAt.Format("15:04:05Z07:00") != "10:00:03Z" || events[0].Attempt != 1 {
		t.Errorf("events %+v", events)
	}
	if got := string(events[3].Content); !strings.Contains(got, "12345678901234567890") {
		t.Errorf("a number was rounded: %s", got)
	}
	if a := events[4].Artifacts; len(a) != 2 || a[0].Name != "report.md" || a[0].SizeBytes != 5 || a[0].Sha256 != helloSHA256 || a[1].Name != "empty.txt" {
		t.Errorf("artifacts %+v", a)
	}
	if s := events[5].Snapshot; s == nil || len(s.Manifests) != 4 || strings.Contains(string(s.Manifests[0]), "uid") || !strings.Contains(string(s.Manifests[1]), "sha256-salted:") {
		t.Errorf("snapshot %+v", s)
	}
	w.wantNowhere(k, "hunter2")
	memories := one[[]string](w, "SELECT array_agg(ordinal/1000 || ' ' || content ORDER BY ordinal) FROM codex_task_memory_index JOIN codex_memory_contents USING (content_hash) WHERE kind = 'event'")
	want := []string{"2 Read the Deployment of the web shop.", "9 Raised the replicas to three.\nThe quota was the reason."}
	if !reflect.DeepEqual(memories, want) {
		t.Errorf("memories %q, want %q", memories, want)
	}
	eventtest.Golden(t, "task.reported.terminal", w.sink.Wait(w.context, t, k.id.String(), 1)[0])
}

// wantNowhere checks that no table has the text.
func (w *world) wantNowhere(k task, text string) {
	w.t.Helper()
	for _, table := range []string{"codex_task_events", "codex_task_snapshots", "codex_task_memory_index", "codex_task_artifacts"} {
		if n := one[int](w, "SELECT count(*) FROM "+table+" AS r WHERE task_id = $1 AND r::text LIKE '%' || $2 || '%'", k.id, text); n > 0 {
			w.t.Errorf("%d rows of %s have %q", n, table, text)
		}
	}
}

func TestFormsOfABody(t *testing.T) {
	t.Parallel()
	w := setup(t)
	const second = `{"eventId":"b","eventType":"log"}`
	for name, form := range map[string]struct {
		body, media string
		events      int
	}{
		"object": {event("a", "x"), "application/json; charset=utf-8", 1},
		"array":  {" \n[" + event("a", "x") + "," + second + "]", "application/json", 2},
		"lines":  {event("a", "x") + "\n\n" + second + "\r\n", "application/x-ndjson", 2},
	} {
		k := w.running()
		status, data := w.request(http.MethodPost, k.path(), k.token, form.body, "Content-Type", form.media)
		if got := decode[api.EventsAccepted](t, data); status != http.StatusAccepted || len(got.Events) != form.events || len(got.Uploads) != 0 {
			t.Errorf("%s: status %d: %s", name, status, data)
		}
	}
	golden := w.running()
	w.post(golden, event("a", "Half way through the list of deployments."))
	eventtest.Golden(t, "task.reported", w.sink.Wait(w.context, t, golden.id.String(), 1)[0])
}

func TestUploadsWork(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	body := `{"eventId":"a","eventType":"artifact","artifacts":[{"name":"a.txt","contentType":"text/plain","sizeBytes":5,"sha256":"` + helloSHA256 + `"}]}`
	first := w.post(k, body).Uploads[0]
	w.upload(first, "hello")
	if got := one[string](w, "SELECT object_key FROM codex_task_artifacts WHERE id = $1", first.ArtifactID); got != "tasks/"+k.id.String()+"/artifacts/"+first.ArtifactID.String() {
		t.Errorf("object key %q", got)
	}
	// Until it is checked, whoever asks again gets another link to the same place.
	again := w.post(k, body).Uploads[0]
	if again.ArtifactID != first.ArtifactID || again.EventID != "a" {
		t.Errorf("uploads %+v and %+v", first, again)
	}
	w.upload(again, "hello")
	w.exec("UPDATE codex_task_artifacts SET status = 'verified'")
	if got := w.post(k, body); len(got.Uploads) != 0 || got.Events[0].Sequence != 1 {
		t.Errorf("a settled artifact is offered again: %+v", got)
	}
}

func TestObjectStorageIsAway(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_S3_ENDPOINT", "http://127.0.0.1:1")
	k := w.running()
	got := w.post(k, `{"eventId":"a","eventType":"progress","artifacts":[{"name":"a","contentType":"text/plain","sizeBytes":5,"sha256":"`+helloSHA256+`"}]}`)
	if len(got.Uploads) != 1 || !strings.HasPrefix(got.Uploads[0].URL, "http://127.0.0.1:1/") {
		t.Errorf("uploads %+v", got.Uploads)
	}
}

func TestRepeatedEvents(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	first := w.post(k, "["+event("a", "The first to come is the one that stays.")+","+event("b", "b")+"]")
	if again := w.post(k, "["+event("a", "Another body.")+","+event("b", "b")+"]"); !reflect.DeepEqual(again, first) {
		t.Errorf("answered %+v, then %+v", first, again)
	}
	mixed := w.post(k, "["+event("c", "c")+","+event("a", "x")+","+event("c", "twice in one report")+","+event("d", "d")+"]")
	want := []api.EventAccepted{{EventID: "c", Sequence: 3}, {EventID: "a", Sequence: 1}, {EventID: "c", Sequence: 3}, {EventID: "d", Sequence: 4}}
	if !reflect.DeepEqual(mixed.Events, want) {
		t.Errorf("answered %+v, want %+v", mixed.Events, want)
	}
	if events := w.page(k, "").Events; len(events) != 4 || string(events[0].Content) != `"The first to come is the one that stays."` || string(events[2].Content) != `"c"` {
		t.Errorf("stored %+v", events)
	}
	var spans []string
	for _, e := range w.sink.About(k.id.String()) {
		var data struct{ FirstSequence, LastSequence json.Number }
		if err := e.DataAs(&data); err != nil {
			t.Fatal(err)
		}
		spans = append(spans, data.FirstSequence.String()+"-"+data.LastSequence.String())
	}
	if !reflect.DeepEqual(spans, []string{"1-2", "3-4"}) {
		t.Errorf("announced %v", spans)
	}
	if n := one[int](w, "SELECT count(*) FROM codex_task_memory_index"); n != 1 {
		t.Errorf("%d memories", n)
	}
}

func TestAttempts(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.task()
	first := w.token(k, "attempt 1")
	w.post(k, event("early", "x")) // Before the first attempt.
	w.move(k, "launching")
	w.postAs(k, first, event("one", "x"))
	w.move(k, "running", "finalizing", "queued", "launching", "running")
	w.post(k, event("two", "x"))
	w.postAs(k, first, `{"eventId":"late","eventType":"failed"}`)
	attempts := map[string]int{}
	for _, e := range w.page(k, "").Events {
		attempts[e.EventID] = e.Attempt
	}
	if want := map[string]int{"early": 1, "one": 1, "two": 2, "late": 1}; !reflect.DeepEqual(attempts, want) {
		t.Errorf("attempts %v, want %v", attempts, want)
	}
}

// An agent that numbers its events from 1 does so again in its second attempt.
func TestEventIDsAreAnAttemptsOwn(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	first, second := w.token(k, "attempt 1"), w.token(k, "attempt 2")
	report := func(token, id string) int64 {
		return w.postAs(k, token, event(id, "x")).Events[0].Sequence
	}
	got := []int64{report(first, "1"), report(k.token, "1")} // The submitter speaks of the present attempt.
	w.move(k, "finalizing", "queued", "launching", "running")
	got = append(got, report(second, "1"), report(second, "2"), report(second, "1"), report(k.token, "2"), report(first, "1"), report(first, "2"))
	if want := []int64{1, 1, 2, 3, 2, 3, 1, 4}; !reflect.DeepEqual(got, want) {
		t.Errorf("sequences %v, want %v", got, want)
	}
}

func TestEventsAfterTheLastWord(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	w.post(k, `{"eventId":"a","eventType":"completed"}`)
	if got := w.post(k, event("b", "x")); got.Events[0].Sequence != 2 {
		t.Errorf("answered %+v", got)
	}
	for i, want := range []string{"true", "false"} {
		if got := w.sink.Wait(w.context, t, k.id.String(), 2)[i].Extensions()["terminal"]; got != want {
			t.Errorf("event %d: terminal is %v, want %s", i, got, want)
		}
	}
}

func TestBrokerIsAway(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.sink.Refuse(true)
	k := w.running()
	w.post(k, event("a", "x"))
	if n := one[int](w, "SELECT count(*) FROM codex_outbox WHERE event->>'subject' = $1", k.id.String()); n != 1 {
		t.Errorf("%d events wait to be sent", n)
	}
}
