package submit_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/problem"
)

// requested is an event that asks for a task.
func requested(t testing.TB, source, id, data string) event.Event {
	t.Helper()
	e := event.New(t.Context(), event.TypeTaskRequested, source, "", nil)
	e.SetID(id)
	e.SetExtension("traceparent", "00-"+traceID+"-00f067aa0ba902b7-01")
	e.DataEncoded = []byte(data)
	return e
}

// deliver sends an event as the Broker does and tells what it is answered.
func (w *world) deliver(t testing.TB, e event.Event) (int, problem.Problem) {
	t.Helper()
	r, err := http.NewRequestWithContext(w.context, http.MethodPost, w.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := cehttp.WriteRequest(w.context, binding.ToMessage(&e), r); err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode < 300 {
		return res.StatusCode, problem.Problem{}
	}
	return res.StatusCode, problemOf(t, res)
}

func TestEventSubmits(t *testing.T) {
	t.Parallel()
	w := setup(t)
	e := requested(t, testSource, "drift-1", full)
	for range 2 {
		if status, p := w.deliver(t, e); status != http.StatusNoContent {
			t.Fatalf("status %d: %+v", status, p)
		}
	}
	var id, caller, trace string
	if err := w.pool.QueryRow(w.context, "SELECT id, caller, trace_parent FROM codex_tasks").Scan(&id, &caller, &trace); err != nil {
		t.Fatal(err)
	}
	if caller != "ops" || !strings.Contains(trace, traceID) {
		t.Errorf("caller %q, trace %q; want ops and the event's trace", caller, trace)
	}
	got := w.sink.Wait(w.context, t, id, 1)[0]
	if got.Type() != event.TypeTaskSubmitted {
		t.Errorf("the answer is %s", got.Type())
	}
	answer, err := delivery.Data[event.TaskSubmitted](got)
	if err != nil || answer.RequestSource != testSource || answer.RequestID != "drift-1" {
		t.Errorf("the answer is to %s %s, %v", answer.RequestSource, answer.RequestID, err)
	}
	for sql, want := range map[string]int{
		"SELECT count(*) FROM codex_tasks":       1,
		"SELECT count(*) FROM codex_task_tokens": 0,
	} {
		if got := w.count(sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
	if n := len(w.sink.Events()); n != 1 {
		t.Errorf("%d events sent, want one", n)
	}
}

func TestEventIsNamedBySourceAndID(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_EVENT_SOURCES", "/a=ops /b=ops")
	for _, name := range [][2]string{{"/a", "1"}, {"/a", "2"}, {"/b", "1"}, {"/a", "1"}} {
		if status, p := w.deliver(t, requested(t, name[0], name[1], minimal)); status != http.StatusNoContent {
			t.Fatalf("%v: status %d: %+v", name, status, p)
		}
	}
	if n := w.count("SELECT count(*) FROM codex_tasks"); n != 3 {
		t.Errorf("%d tasks, want three", n)
	}
}

// Each of these answers has the Broker dead-letter the event at once, so none
// may be one of those that it sends again (404, 408, 409, 429, 5xx).
func TestEventRefused(t *testing.T) {
	t.Parallel()
	w := setup(t)
	if status, _ := w.deliver(t, requested(t, testSource, "taken", minimal)); status != http.StatusNoContent {
		t.Fatalf("status %d", status)
	}
	secondType := requested(t, testSource, "x", minimal)
	secondType.SetType(event.TypeTaskFinished)
	xml := requested(t, testSource, "x", "<task/>")
	xml.SetDataContentType("application/xml")
	tests := []struct {
		name    string
		event   event.Event
		status  int
		pointer string
	}{
		{"an unlisted source", requested(t, "/somewhere", "1", minimal), 403, ""},
		{"not JSON", requested(t, testSource, "1", `{"prompt":`), 422, "/data"},
		{"no prompt", requested(t, testSource, "1", `{"agent":{"command":["true"]}}`), 422, "/data/prompt"},
		{"an unknown field", requested(t, testSource, "1", strings.Replace(minimal, "{", `{"more":1,`, 1)), 422, "/data/more"},
		{"a key of its own", requested(t, testSource, "1", strings.Replace(minimal, "{", `{"idempotencyKey":"k",`, 1)), 422, "/data/idempotencyKey"},
		{"a key that was used", requested(t, testSource, "taken", full), 422, "/id"},
		{"an unknown mode", requested(t, testSource, "1", strings.Replace(minimal, "{", `{"orchestrationMode":"swarm",`, 1)), 422, "/data/orchestrationMode"},
		{"too large", requested(t, testSource, "1", `{"prompt":"`+strings.Repeat("x", 2<<20)+`"}`), 413, ""},
		{"not JSON by its type", xml, 422, "/datacontenttype"},
		{"another type", secondType, 422, "/type"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			status, p := w.deliver(t, test.event)
			if status != test.status || p.Detail == "" {
				t.Errorf("status %d: %+v, want %d with a reason", status, p, test.status)
			}
			if test.pointer != "" && (len(p.Errors) != 1 || p.Errors[0].Pointer != test.pointer) {
				t.Errorf("errors = %+v, want one at %s", p.Errors, test.pointer)
			}
		})
	}
}

func TestNoEvent(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for name, send := range map[string]func() *http.Response{
		"no headers": func() *http.Response { return w.request(http.MethodPost, "/", "", minimal) },
		"no id": func() *http.Response {
			return w.request(http.MethodPost, "/", "", minimal, "ce-specversion", "1.0", "ce-type", event.TypeTaskRequested, "ce-source", testSource)
		},
		"broken JSON": func() *http.Response {
			return w.request(http.MethodPost, "/", "", "{", "Content-Type", "application/cloudevents+json")
		},
	} {
		if res := send(); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d, want 400: %+v", name, res.StatusCode, problemOf(t, res))
		}
	}
	large := bytes.Repeat([]byte("x"), 5<<20)
	if res := w.request(http.MethodPost, "/", "", string(large), "ce-specversion", "1.0", "ce-type", event.TypeTaskRequested,
		"ce-source", testSource, "ce-id", "1"); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("5 MiB: status %d, want 413", res.StatusCode)
	}
	if res := w.request(http.MethodGet, "/", "", ""); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "POST" {
		t.Errorf("GET /: status %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
	}
}
