// Package eventtest receives the events that a function sends and holds them to
// their schemas. Only tests import it.
package eventtest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/graf-run/graf/eventing"
	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
)

// Sink stands where the Broker's ingress is, K_SINK.
type Sink struct {
	// URL is where to send events.
	URL string

	mu      sync.Mutex
	refuse  bool
	events  []event.Event
	changed chan struct{}
}

// NewSink starts a sink, which is stopped at the test's end. An event that does
// not match its schema fails the test.
func NewSink(t testing.TB) *Sink {
	t.Helper()
	s := &Sink{changed: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.take(t, w, r) }))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

func (s *Sink) take(t testing.TB, w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	e, err := delivery.Read(w, r)
	if err != nil {
		t.Errorf("the sink was sent what is no event: %v", err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if err := Check(e); err != nil {
		t.Error(err)
	}
	s.events = append(s.events, e)
	close(s.changed)
	s.changed = make(chan struct{})
	w.WriteHeader(http.StatusAccepted)
}

// Refuse has the sink answer 503, or take events again.
func (s *Sink) Refuse(refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

// Events are those that came, in their order.
func (s *Sink) Events() []event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// About are the events that came about one subject, in their order.
func (s *Sink) About(subject string) []event.Event {
	return slices.DeleteFunc(s.Events(), func(e event.Event) bool { return e.Subject() != subject })
}

// Wait returns the events about subject once there are n. It fails the test
// when ctx ends before.
func (s *Sink) Wait(ctx context.Context, t testing.TB, subject string, n int) []event.Event {
	t.Helper()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		events := s.About(subject)
		if len(events) >= n {
			return events
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%d of %d events about %s came: %v", len(events), n, subject, context.Cause(ctx))
		}
	}
}

// Check tells where an event does not match what eventing/schemas says of its type.
func Check(e event.Event) error {
	schema, err := schemaOf(e.Type())
	if err != nil {
		return err
	}
	data, err := jsonschema.UnmarshalJSON(bytes.NewReader(e.Data()))
	if err != nil {
		return fmt.Errorf("event %s: data is not JSON: %w", e.Type(), err)
	}
	if err := schema.Validate(data); err != nil {
		return fmt.Errorf("event %s: %w", e.Type(), err)
	}
	return nil
}

// schemaOf compiles the schema of a type with formats asserted, which draft
// 2020-12 otherwise only annotates.
func schemaOf(eventType string) (*jsonschema.Schema, error) {
	raw, err := eventing.Schema(eventType)
	if err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", eventType, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	url := "urn:graf:event:" + eventType
	if err := c.AddResource(url, document); err != nil {
		return nil, fmt.Errorf("schema of %s: %w", eventType, err)
	}
	return c.Compile(url)
}
