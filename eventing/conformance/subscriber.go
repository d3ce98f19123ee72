package conformance

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// received is an event as a subscriber got it.
type received struct {
	event
	header http.Header
	at     time.Time
	// attempt counts the deliveries of this event's id to this subscriber, from 1.
	attempt int
	// gone closes when the Broker has given up the request.
	gone <-chan struct{}
}

// answer writes the response to a delivery.
type answer func(http.ResponseWriter, received)

// subscriber records what it is sent.
type subscriber struct {
	url    string
	events chan received
	answer answer

	mu       sync.Mutex
	attempts map[string]int
}

// accepts answers everything with an empty 202.
func accepts(w http.ResponseWriter, _ received) { w.WriteHeader(http.StatusAccepted) }

// status answers everything with one status and a body.
func status(code int, body string) answer {
	return func(w http.ResponseWriter, _ received) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

// first answers the first n deliveries of each event with one, the later ones
// with 202.
func first(n int, one answer) answer {
	return func(w http.ResponseWriter, r received) {
		if r.attempt > n {
			accepts(w, r)
			return
		}
		one(w, r)
	}
}

// subscribe starts a subscriber.
func subscribe(t testing.TB, h Harness, reply answer) *subscriber {
	t.Helper()
	// The room is for all that one test ever sends, so that recording never
	// blocks a delivery.
	s := &subscriber{events: make(chan received, 4096), answer: reply, attempts: map[string]int{}}
	s.url = h.Serve(t, s)
	return s
}

// ServeHTTP records the event, then answers.
func (s *subscriber) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e, err := readEvent(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	got := received{event: e, header: r.Header, at: time.Now(), gone: r.Context().Done()}
	s.mu.Lock()
	s.attempts[e.id()]++
	got.attempt = s.attempts[e.id()]
	s.mu.Unlock()
	s.events <- got
	s.answer(w, got)
}

// next returns the next delivery.
func (s *subscriber) next(t testing.TB) received {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case got := <-s.events:
		return got
	case <-timer.C:
		t.Fatal("no event came in time")
		return received{}
	}
}

// delivered returns the ids of what has been delivered so far and not taken.
func (s *subscriber) delivered() []string {
	var ids []string
	for {
		select {
		case got := <-s.events:
			ids = append(ids, got.id())
		default:
			return ids
		}
	}
}

// count returns how often an event was delivered.
func (s *subscriber) count(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts[id]
}
