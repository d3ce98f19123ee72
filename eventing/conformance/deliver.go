package conformance

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// answerWith answers with an event, in binary mode.
func answerWith(e event) answer {
	return func(w http.ResponseWriter, _ received) {
		e.writeHeaders(w.Header())
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(e.data)
	}
}

func testReply(t *testing.T, h Harness) {
	ask := subscribe(t, h, answerWith(newEvent("answer", "answer", "shade", "red")))
	observe := subscribe(t, h, accepts)
	trigger{name: "ask", filters: exactType("ask"), subscriber: ask.url}.apply(t, h)
	trigger{name: "observe", filters: exactType("answer"), subscriber: observe.url}.apply(t, h)
	send(t, h, newEvent("question", "ask"))
	got := observe.next(t)
	if got.id() != "answer" || got.attributes["shade"] != "red" || string(got.data) != `{"id": "answer"}` {
		t.Errorf("got %v %s", got.attributes, got.data)
	}
	if _, ok := got.attributes["knativebrokerttl"]; ok {
		t.Error("the subscriber sees the Broker's TTL")
	}
}

// An answer must be empty or an event; any other counts as a failure.
func testReplyNoEvent(t *testing.T, h Harness) {
	s, dead := subscribe(t, h, status(200, `{"ok":true}`)), subscribe(t, h, accepts)
	trigger{name: "no-event", subscriber: s.url, delivery: delivery(1, dead.url)}.apply(t, h)
	send(t, h, newEvent("1", "x"))
	dead.next(t)
	if n := s.count("1"); n < 2 {
		t.Errorf("delivered %d times, want a retry", n)
	}
}

func testRetried(t *testing.T, h Harness) {
	for _, code := range []int{404, 408, 409, 429, 500, 502, 503} {
		s, dead := subscribe(t, h, first(2, status(code, "later"))), subscribe(t, h, accepts)
		name := fmt.Sprintf("retried-%d", code)
		trigger{name: name, filters: exactType(name), subscriber: s.url, delivery: delivery(3, dead.url)}.apply(t, h)
		send(t, h, newEvent(name, name))
		for attempt := 1; attempt <= 3; attempt++ {
			s.next(t)
		}
		if ids := dead.delivered(); len(ids) > 0 {
			t.Errorf("%d: dead letter %v, though the third attempt succeeded", code, ids)
		}
	}
}

func testBackoff(t *testing.T, h Harness) {
	s, dead := subscribe(t, h, status(503, "later")), subscribe(t, h, accepts)
	trigger{name: "backoff", subscriber: s.url, delivery: delivery(3, dead.url)}.apply(t, h)
	send(t, h, newEvent("1", "x"))
	last := s.next(t).at
	// Only lower bounds: a machine under load may always be later.
	for _, milliseconds := range []int{100, 200, 400} {
		at := s.next(t).at
		if least := time.Duration(milliseconds) * time.Millisecond; at.Sub(last) < least {
			t.Errorf("retried after %v, want at least %v", at.Sub(last), least)
		}
		last = at
	}
}

func testTimeout(t *testing.T, h Harness) {
	hangs := func(_ http.ResponseWriter, r received) { <-r.gone }
	s := subscribe(t, h, first(1, hangs))
	short := delivery(2, "")
	short["timeout"] = "PT0.5S"
	trigger{name: "timeout", subscriber: s.url, delivery: short}.apply(t, h)
	send(t, h, newEvent("1", "x"))
	if s.next(t); s.next(t).attempt != 2 {
		t.Error("a request without an answer was not retried")
	}
}

func testRefused(t *testing.T, h Harness) {
	for _, code := range []int{400, 401, 403, 405, 410, 413, 422} {
		s, dead := subscribe(t, h, status(code, "never")), subscribe(t, h, accepts)
		name := fmt.Sprintf("refused-%d", code)
		trigger{name: name, filters: exactType(name), subscriber: s.url, delivery: delivery(5, dead.url)}.apply(t, h)
		send(t, h, newEvent(name, name))
		// The dead letter comes after the last attempt, so the count is final.
		letter := dead.next(t)
		if n := s.count(name); n != 1 {
			t.Errorf("%d: delivered %d times, want once", code, n)
		}
		if got := letter.attributes["knativeerrorcode"]; got != fmt.Sprint(code) {
			t.Errorf("knativeerrorcode is %q, want %d", got, code)
		}
	}
}

func testDeadLetter(t *testing.T, h Harness) {
	// 1,024 characters of base64. A longer answer crashes the in-memory dispatcher
	// of Knative Eventing 1.20, so that Graf gives none.
	body := strings.Repeat("é", 384)
	s, dead := subscribe(t, h, status(503, body)), subscribe(t, h, accepts)
	path := "/path?query=1"
	trigger{name: "dead", subscriber: s.url + path, delivery: delivery(2, dead.url+"/dead-letters")}.apply(t, h)
	sent := newEvent("1", "x", "subject", "task/42", "terminal", "true")
	send(t, h, sent)
	got := dead.next(t)
	if n := s.count("1"); n != 3 {
		t.Errorf("delivered %d times before the dead letter, want 1 and 2 retries", n)
	}
	want := map[string]string{
		"knativeerrorcode": "503",
		"knativeerrordest": s.url + path,
		"knativeerrordata": base64.StdEncoding.EncodeToString([]byte(body)),
	}
	for name, value := range sent.attributes {
		want[name] = value
	}
	for name, value := range want {
		if got.attributes[name] != value {
			t.Errorf("attribute %s is %q, want %q", name, got.attributes[name], value)
		}
	}
	if string(got.data) != string(sent.data) {
		t.Errorf("data %q, want %q", got.data, sent.data)
	}
}

func testAbsentEndpoint(t *testing.T, h Harness) {
	dead := subscribe(t, h, accepts)
	// Port 1 is nobody's, on this machine as in a pod.
	trigger{name: "absent", subscriber: "http://127.0.0.1:1/", delivery: delivery(1, dead.url)}.apply(t, h)
	send(t, h, newEvent("1", "x"))
	got := dead.next(t)
	if got.id() != "1" || got.attributes["knativeerrorcode"] != "500" || got.attributes["knativeerrordest"] != "http://127.0.0.1:1/" {
		t.Errorf("got %v", got.attributes)
	}
}

func testDeadLetterRetried(t *testing.T, h Harness) {
	s, dead := subscribe(t, h, status(400, "no")), subscribe(t, h, first(1, status(503, "later")))
	trigger{name: "sink-retried", subscriber: s.url, delivery: delivery(2, dead.url)}.apply(t, h)
	send(t, h, newEvent("1", "x"))
	if dead.next(t); dead.next(t).attempt != 2 {
		t.Error("the dead letter was not retried")
	}
}

// A subscriber that answers with what it is sent would go on for ever.
func testLoop(t *testing.T, h Harness) {
	echo := subscribe(t, h, func(w http.ResponseWriter, r received) { answerWith(newEvent("echo", "loop"))(w, r) })
	dead := subscribe(t, h, accepts)
	trigger{name: "loop", filters: exactType("loop"), subscriber: echo.url, delivery: delivery(1, dead.url)}.apply(t, h)
	send(t, h, newEvent("first", "loop", "knativebrokerttl", "4"))
	// Ingress takes one off each time: it comes with 3, 2 and 1 left; the reply to
	// the last is refused, and what it replies to is dead-lettered.
	got := dead.next(t)
	if got.attributes["knativeerrorcode"] != "400" || !strings.HasSuffix(got.attributes["knativeerrordest"], ingressPath(h)) {
		t.Errorf("got %v", got.attributes)
	}
	if n := echo.count("first") + echo.count("echo"); n != 3 {
		t.Errorf("the event went round %d times, want 3", n)
	}
}

func ingressPath(h Harness) string { return strings.TrimPrefix(ingressURL(h), h.Ingress()) }

// testNoLoss sends many events at once to a subscriber that fails every third at
// first.
func testNoLoss(t *testing.T, h Harness) {
	var mu sync.Mutex
	calls := 0
	s := subscribe(t, h, func(w http.ResponseWriter, r received) {
		mu.Lock()
		calls++
		fail := calls%3 == 0 && r.attempt == 1
		mu.Unlock()
		if fail {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		accepts(w, r)
	})
	trigger{name: "no-loss", subscriber: s.url, delivery: delivery(5, "")}.apply(t, h)
	const senders, each = 8, 50
	var sending sync.WaitGroup
	for sender := range senders {
		sending.Go(func() {
			for i := range each {
				header := http.Header{}
				e := newEvent(fmt.Sprintf("%d-%d", sender, i), "x")
				e.writeHeaders(header)
				code, err := request(t.Context(), http.MethodPost, ingressURL(h), header, e.data)
				if err != nil || code != http.StatusAccepted {
					t.Errorf("event %s: %d, %v", e.id(), code, err)
				}
			}
		})
	}
	sending.Wait()
	for seen := map[string]bool{}; len(seen) < senders*each; {
		seen[s.next(t).id()] = true
	}
}

// testRestart stops a Broker that has events which no subscriber took.
func testRestart(t *testing.T, h Restarter) {
	s := subscribe(t, h, func(w http.ResponseWriter, r received) {
		if r.attempt == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		accepts(w, r)
	})
	// So long a wait that without the restart nothing would be tried again.
	slow := delivery(3, "")
	slow["backoffDelay"] = "PT1H"
	trigger{name: "restart", subscriber: s.url, delivery: slow}.apply(t, h)
	const events = 20
	for i := range events {
		send(t, h, newEvent(fmt.Sprint(i), "x", "terminal", "true"))
	}
	for range events {
		s.next(t)
	}
	h.Restart(t)
	for seen := map[string]bool{}; len(seen) < events; {
		got := s.next(t)
		if got.attributes["terminal"] != "true" || string(got.data) != fmt.Sprintf(`{"id": "%s"}`, got.id()) {
			t.Errorf("after the restart: %v %s", got.attributes, got.data)
		}
		seen[got.id()] = true
	}
}
