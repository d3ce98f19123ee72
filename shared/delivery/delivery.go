// Package delivery receives CloudEvents that Knative's Broker delivers by HTTP
// and turns a handler's result into the answer that the Broker acts on: 2xx
// ends the delivery, 5xx (and 408, 409, 429) has it tried again as the Trigger
// says, any other 4xx sends it to the dead-letter sink at once, with the body
// as the reason.
//
// func-go's own CloudEvents runtime is not used: sdk-go's receiver hands
// requests over a shared channel, so that a handler may see another request's
// context, and it reads bodies of any size.
package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/problem"
)

// MaxEventBytes bounds an event. Kubernetes objects, the largest that are
// delivered, are at most 1.5 MiB.
const MaxEventBytes = 4 << 20

// DefaultTimeout bounds a handler. It is below the Triggers' delivery timeout,
// so that a handler's own error reaches the Broker before the Broker gives up.
const DefaultTimeout = 25 * time.Second

// HandlerFunc consumes one event. It must bear the same event twice, late or
// out of order. An error that problem maps to a 4xx refuses the event for good;
// any other has it delivered again.
type HandlerFunc func(ctx context.Context, e event.Event) error

// Receiver serves deliveries: one handler for each event type.
type Receiver struct {
	handlers map[string]HandlerFunc
	timeout  time.Duration
}

// NewReceiver makes a receiver for the types that are handlers' keys.
func NewReceiver(handlers map[string]HandlerFunc) *Receiver {
	return &Receiver{handlers: handlers, timeout: DefaultTimeout}
}

// ServeHTTP receives one event in binary or structured mode.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e, err := Read(w, r)
	if err != nil {
		problem.WriteDelivery(w, r, err)
		return
	}
	handle, ok := rc.handlers[e.Type()]
	if !ok {
		problem.WriteDelivery(w, r, problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/type",
			Detail: fmt.Sprintf("this function does not consume %q: check the Trigger's filter", e.Type())}))
		return
	}
	ctx, cancel := context.WithTimeout(event.TraceContext(r.Context(), e), rc.timeout)
	defer cancel()
	if err := handle(ctx, e); err != nil {
		problem.WriteDelivery(w, r, fmt.Errorf("event %s %s: %w", e.Type(), e.ID(), err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// Read takes the event out of a request. Errors are of the problem package.
func Read(w http.ResponseWriter, r *http.Request) (event.Event, error) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxEventBytes)
	message := cehttp.NewMessageFromHttpRequest(r)
	if message.ReadEncoding() == binding.EncodingUnknown {
		return event.Event{}, problem.ErrBadRequest.With("not a CloudEvent: send ce-* headers, or application/cloudevents+json as the body")
	}
	e, err := binding.ToEvent(r.Context(), message)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return event.Event{}, problem.ErrTooLarge.With("an event may have at most %d bytes", MaxEventBytes)
		}
		return event.Event{}, problem.ErrBadRequest.With("not a CloudEvent: %v", err)
	}
	if err := e.Validate(); err != nil {
		return event.Event{}, problem.ErrBadRequest.With("not a valid CloudEvent: %v", err)
	}
	return *e, nil
}

// Data decodes an event's JSON data into T. Data that does not fit is refused
// for good: sending it again would not mend it.
func Data[T any](e event.Event) (T, error) {
	var data T
	if err := json.Unmarshal(e.Data(), &data); err != nil {
		return data, problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/data",
			Detail: fmt.Sprintf("not the data of %s: %v", e.Type(), err)})
	}
	return data, nil
}
