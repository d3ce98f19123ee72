package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"
	knbroker "knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/utils"
	"knative.dev/pkg/apis"
)

// traceHeaders carry a trace over HTTP. Knative's Broker hands a trace on by
// its spans; this one makes none and passes the headers.
var traceHeaders = []string{"Traceparent", "Tracestate"}

// ServeHTTP is the ingress of the Brokers, at /<namespace>/<name>. A POST of a
// CloudEvent in binary or structured mode is answered 202 once it is stored; 400
// if it is no valid event or its TTL is used up; 404 if there is no such Broker;
// 413 if it is too large; 503 if the Broker is full or stopping.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", "POST, OPTIONS")
	switch r.Method {
	case http.MethodPost:
		b.receive(w, r)
	case http.MethodOptions:
		// The CloudEvents webhook handshake: any sender, at any rate.
		w.Header().Set("WebHook-Allowed-Origin", "*")
		w.Header().Set("WebHook-Allowed-Rate", "*")
	default:
		http.Error(w, "send events with POST", http.StatusMethodNotAllowed)
	}
}

func (b *Broker) receive(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		http.Error(w, "send events to /<namespace>/<broker>", http.StatusNotFound)
		return
	}
	parts := strings.Split(strings.TrimSuffix(r.URL.Path, "/"), "/")
	if len(parts) != 3 {
		http.Error(w, "send events to /<namespace>/<broker>", http.StatusBadRequest)
		return
	}
	event, status, err := b.read(w, r)
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	b.accepting.RLock()
	defer b.accepting.RUnlock()
	if b.stopped {
		http.Error(w, "the broker is stopping", http.StatusServiceUnavailable)
		return
	}
	status, err = b.accept(silence(r.Context()), name{parts[1], parts[2]}, event, passOn(r.Header))
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	w.WriteHeader(status)
}

// read takes the event out of a request, or says with which status to refuse it.
func (b *Broker) read(w http.ResponseWriter, r *http.Request) (*cloudevents.Event, int, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, b.config.MaxEventBytes))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, http.StatusRequestEntityTooLarge, err
	} else if err != nil {
		return nil, http.StatusBadRequest, err
	}
	message := cehttp.NewMessage(r.Header, io.NopCloser(bytes.NewReader(body)))
	event, err := binding.ToEvent(r.Context(), message)
	if err != nil {
		return nil, http.StatusBadRequest, err
	}
	if err := event.Validate(); err != nil {
		return nil, http.StatusBadRequest, err
	}
	return event, http.StatusOK, nil
}

// passOn returns the headers that go with an event to its subscribers.
func passOn(headers http.Header) http.Header {
	passed := utils.PassThroughHeaders(headers)
	for _, header := range traceHeaders {
		if values := headers[header]; len(values) > 0 {
			passed[header] = values
		}
	}
	return passed
}

// accept stores an event for each Trigger that wants it and returns the status
// that ingress answers with. ctx is for filters; it does not end the storing.
func (b *Broker) accept(ctx context.Context, to name, event *cloudevents.Event, headers http.Header) (int, error) {
	b.mu.RLock()
	broker := b.brokers[to]
	var subscriptions []*subscription
	if broker != nil {
		subscriptions = broker.subscriptions
	}
	b.mu.RUnlock()
	if broker == nil {
		return http.StatusNotFound, errors.New("there is no Broker " + to.String())
	}
	r, err := b.stamp(ctx, event, headers)
	if err != nil {
		return http.StatusBadRequest, err
	}
	return b.enqueue(ctx, r, subscriptions)
}

// stamp notes the time of arrival and takes one off the TTL.
func (b *Broker) stamp(ctx context.Context, event *cloudevents.Event, headers http.Header) (*record, error) {
	event.SetExtension(knbroker.EventArrivalTime, types.Timestamp{Time: time.Now()})
	stamped := b.setTTL(ctx, *event)
	ttl, err := knbroker.GetTTL(stamped.Context)
	if err != nil || ttl <= 0 {
		return nil, errors.New("the event came back as a reply too often (its " + knbroker.TTLAttribute + " is used up)")
	}
	if err := knbroker.DeleteTTL(stamped.Context); err != nil {
		return nil, err
	}
	return &record{event: stamped, ttl: ttl, headers: headers}, nil
}

func (b *Broker) enqueue(ctx context.Context, r *record, subscriptions []*subscription) (int, error) {
	var wanting []*subscription
	var triggers []string
	for _, sub := range subscriptions {
		if sub.wants(ctx, r) {
			wanting = append(wanting, sub)
			triggers = append(triggers, sub.trigger.String())
		}
	}
	if len(wanting) == 0 {
		return http.StatusAccepted, nil
	}
	sequence, err := b.journal.put(r, triggers)
	switch {
	case errors.Is(err, errFull):
		return http.StatusServiceUnavailable, err
	case err != nil:
		b.log.Error("event not stored", "event", r.event.ID(), "type", r.event.Type(), "error", err)
		return http.StatusInternalServerError, errors.New("the event could not be stored")
	}
	for _, sub := range wanting {
		sub.queue.push(item{sequence: sequence, record: r})
	}
	return http.StatusAccepted, nil
}

// addressOf returns the URL of a Broker's ingress, to be named in errors.
func (b *Broker) addressOf(broker name) *apis.URL {
	address, err := apis.ParseURL(b.config.Resolver.BrokerURL + "/" + broker.String())
	if err != nil {
		return &apis.URL{Path: "/" + broker.String()}
	}
	return address
}
