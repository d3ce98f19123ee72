package finalize

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/tasktest"
)

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	f := setup(t)
	post := func() int {
		r := httptest.NewRequest(http.MethodPost, "/dead-letters", strings.NewReader(`{"taskId":"x"}`))
		for name, v := range map[string]string{
			"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/cluster/drift", "Ce-Type": event.TypeTaskRequested,
			"Content-Type": "application/json", "Ce-Knativeerrordest": "http://graf-submit", "Ce-Knativeerrorcode": "403",
			"Ce-Knativeerrordata": "c291cmNlIGlzIG5vdCBsaXN0ZWQ=",
		} {
			r.Header.Set(name, v)
		}
		w := httptest.NewRecorder()
		f.handleDeadLetter(w, r)
		return w.Code
	}
	for range 2 { // the dispatcher may deliver twice
		if code := post(); code != http.StatusNoContent {
			t.Fatalf("answered %d", code)
		}
	}
	got := tasktest.Scan[string](t, f.pool, `SELECT count(*) || ' ' || min(error_code) || ' ' || min(destination) || ' ' || min(error) FROM codex_dead_letters`)
	if want := "1 403 http://graf-submit source is not listed"; got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
}

// An event that was sent again and dies again is a letter of its own, once, and names the one before.
func TestReplayedLetterDiesAgain(t *testing.T) {
	t.Parallel()
	f := setup(t)
	e := event.New(t.Context(), event.TypeTaskRequested, "/cluster/drift", "", map[string]string{"taskId": "x"})
	e.SetExtension(extensionDestination, "http://graf-submit")
	deliver := func(replayOf string) string {
		t.Helper()
		sent := e.Clone()
		if replayOf != "" {
			sent.SetExtension(event.ExtensionReplayOf, replayOf)
		}
		for range 2 { // the dispatcher may deliver twice
			if code := f.deliverDead(t, sent); code != http.StatusNoContent {
				t.Fatalf("answered %d", code)
			}
		}
		return tasktest.Scan[string](t, f.pool, `SELECT id::text FROM codex_dead_letters WHERE coalesce(replay_of::text, '') = $1
			AND event ->> 'grafreplayof' IS NULL`, replayOf)
	}
	first := deliver("")
	second := deliver(first)
	deliver(second)
	if n := tasktest.Scan[int](t, f.pool, `SELECT count(*) FROM codex_dead_letters`); n != 3 {
		t.Errorf("%d letters, want 3", n)
	}
}

// TestMalformedDeadLetters: what nobody could take is the very case that dead
// letters are for. Sent again as the runbook says, the event is the same.
func TestMalformedDeadLetters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		contentType string
		data        string
		change      func(e *event.Event)
	}{
		"JSON":             {data: `{"prompt":"a","n":1e999999,"n":1.50}`},
		"cut off":          {data: `{"prompt": `},
		"no data":          {data: ``},
		"U+0000":           {data: `{"prompt":"a\u0000b"}`},
		"half a surrogate": {data: `{"prompt":"\ud800"}`},
		"not UTF-8":        {data: "{\"prompt\":\"\xff\"}"},
		"nested deep":      {data: strings.Repeat("[", 9990) + strings.Repeat("]", 9990)},
		"text":             {contentType: "text/plain", data: "a\nb\x00c\xff"},
		"version 0.3":      {data: `{`, change: func(e *event.Event) { e.SetSpecVersion("0.3") }},
		"long id":          {data: `{}`, change: func(e *event.Event) { e.SetID(strings.Repeat("0123456789", 1000) + rand.Text()) }},
		"odd subject":      {data: `{`, change: func(e *event.Event) { e.SetSubject("a\x00b") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			sent := event.New(t.Context(), event.TypeTaskRequested, "/cluster/drift", "", nil)
			sent.SetDataContentType(cmp.Or(c.contentType, "application/json"))
			if c.change != nil {
				c.change(&sent)
			}
			sent.DataEncoded = []byte(c.data)
			dead := sent.Clone()
			dead.SetExtension(extensionDestination, "http://graf-submit")
			dead.SetExtension(extensionCode, "422")
			if code := f.deliverDead(t, dead); code != http.StatusNoContent {
				t.Fatalf("answered %d", code)
			}
			letter := tasktest.Scan[string](t, f.pool, `SELECT event::text FROM codex_dead_letters WHERE error_code = 422 AND destination = 'http://graf-submit'`)
			if strings.Contains(letter, "\n") {
				t.Errorf("more than one line: %q", letter)
			}
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(letter))
			r.Header.Set("Content-Type", "application/cloudevents+json")
			again, err := delivery.Read(httptest.NewRecorder(), r)
			if err != nil {
				t.Fatalf("%v: %s", err, letter)
			}
			sent.Context = sent.Context.AsV1()
			if diff := gocmp.Diff(sent.Context, again.Context); diff != "" {
				t.Error(diff)
			}
			if string(again.Data()) != c.data {
				t.Errorf("data %q, want %q", again.Data(), c.data)
			}
		})
	}
}

// deliverDead hands an event in as Knative's dispatcher does, and tells what it
// is answered.
func (f *fixture) deliverDead(t *testing.T, e event.Event) int {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/dead-letters", nil)
	if err := cehttp.WriteRequest(t.Context(), binding.ToMessage(&e), r); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	f.handleDeadLetter(w, r)
	return w.Code
}
