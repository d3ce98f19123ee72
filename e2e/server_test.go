//go:build e2e

package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
)

// serve makes a handler reachable for pods and returns its URL.
func serve(t testing.TB, address string, handler http.Handler) string {
	t.Helper()
	var listening net.ListenConfig
	listener, err := listening.Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatalf("%v: set GRAF_E2E_ADDRESS to an address of this machine that pods can reach", err)
	}
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close() // loopback, which pods cannot reach
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// gates hold agents up until the test opens them.
type gates struct {
	url  string
	mu   sync.Mutex
	open map[string]bool
}

func (s *system) newGates(t *testing.T) *gates {
	t.Helper()
	g := &gates{open: map[string]bool{}}
	g.url = serve(t, s.address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.open[r.URL.Path] {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.WriteHeader(http.StatusLocked)
	}))
	return g
}

// at is the address of a gate.
func (g *gates) at(name string) string { return g.url + "/" + name }

func (g *gates) unlock(names ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range names {
		g.open["/"+name] = true
	}
}

// delivered is an event as a subscriber got it.
type delivered struct {
	event.Event
	at time.Time
}

// subscriber is one of a Trigger: it keeps what it is sent, and answers as told.
type subscriber struct {
	mu     sync.Mutex
	status int
	events []delivered
}

// subscribe adds a Trigger of Graf's Broker with a subscriber of the test's own.
func (s *system) subscribe(t *testing.T, name string, spec object) *subscriber {
	t.Helper()
	sub := &subscriber{status: http.StatusNoContent}
	spec["broker"] = "default"
	spec["subscriber"] = object{"uri": serve(t, s.address, sub)}
	name += "-" + s.run
	s.create(t, triggers, object{
		"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger",
		"metadata": object{"name": name, "namespace": graf}, "spec": spec,
	})
	s.awaitReady(t, triggers, graf, name)
	s.probe(t, graf, "default", s.broker)
	return sub
}

// ServeHTTP implements http.Handler.
func (sub *subscriber) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e, err := delivery.Read(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.events = append(sub.events, delivered{Event: e, at: time.Now()})
	w.WriteHeader(sub.status)
}

func (sub *subscriber) answer(status int) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.status = status
}

// about are the deliveries about something, in their order.
func (sub *subscriber) about(subject string) []delivered {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(sub.events), func(e delivered) bool { return !strings.Contains(e.Subject(), subject) })
}
