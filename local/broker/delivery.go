package broker

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	eventingapis "knative.dev/eventing/pkg/apis"
	knbroker "knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/kncloudevents"
	"knative.dev/eventing/pkg/kncloudevents/attributes"
	"knative.dev/pkg/apis"
)

// delivery takes one event to one Trigger's subscriber.
type delivery struct {
	broker *Broker
	sub    *subscription
	// slots bounds the requests under way; a token is held while sending.
	slots chan struct{}
	item  item
	// interrupt ends the delivery in a wait when the Broker stops.
	interrupt context.CancelFunc
}

// outcome is how a delivery ended.
type outcome int

const (
	// delivered: the subscriber or the dead-letter sink has it, or nobody will.
	delivered outcome = iota
	// interrupted: the Broker stops; the event stays stored.
	interrupted
	// unreachable: nobody could take it now.
	unreachable
)

// deliver runs a delivery to its end, and strikes it off if it need not be
// repeated.
func (b *Broker) deliver(d *delivery) {
	if d.item.record == nil {
		r, err := b.journal.get(d.item.sequence)
		if err != nil {
			b.log.Error("undelivered event lost, its record cannot be read", "trigger", d.sub.trigger, "error", err)
			b.journal.strike(d.item.sequence, d.sub.trigger.String())
			return
		}
		d.item.record = r
	}
	result := d.attempt()
	for result == unreachable && d.sleep(b.config.RedeliverAfter) {
		result = d.attempt()
	}
	if result == delivered {
		b.journal.strike(d.item.sequence, d.sub.trigger.String())
	}
}

// attempt sends the event with the Trigger's retries, then the reply or the
// dead letter.
func (d *delivery) attempt() outcome {
	ctx, cancel := context.WithCancel(d.broker.aborted)
	defer cancel()
	d.interrupt = cancel
	if !d.take(ctx) {
		return interrupted
	}
	defer d.release()
	info, err := d.send(ctx)
	switch {
	case ctx.Err() != nil:
		return interrupted
	case err != nil:
		return d.sendDeadLetter(ctx, d.sub.subscriber.URL, info)
	}
	return d.reply(ctx, info)
}

func (d *delivery) send(ctx context.Context) (*kncloudevents.DispatchInfo, error) {
	options := []kncloudevents.SendOption{
		kncloudevents.WithHeader(d.headers()),
		kncloudevents.WithRetryConfig(d.sub.waits(d.checkAnswer, d.pause)),
	}
	if d.sub.format != nil {
		options = append(options, kncloudevents.WithEventFormat(d.sub.format))
	}
	return d.broker.dispatcher.SendEvent(ctx, d.item.record.event, d.sub.subscriber, options...)
}

func (d *delivery) headers() http.Header {
	headers := d.item.record.headers.Clone()
	if headers == nil {
		headers = http.Header{}
	}
	headers.Set(eventingapis.KnNamespaceHeader, d.sub.trigger.namespace)
	return headers
}

// sendDeadLetter sends the event to the dead-letter sink with the error that
// destination answered. The event has its TTL then, as in Knative, where the
// dead letter does not pass the filter that takes it off.
func (d *delivery) sendDeadLetter(ctx context.Context, destination *apis.URL, failed *kncloudevents.DispatchInfo) outcome {
	event := d.item.record.event
	log := d.broker.log.With("trigger", d.sub.trigger.String(), "event", event.ID(), "type", event.Type(),
		"destination", destination.String(), "status", failed.ResponseCode)
	if d.sub.deadLetter == nil {
		log.Error("event lost: not delivered, and no dead-letter sink")
		return delivered
	}
	info, err := d.broker.dispatcher.SendEvent(ctx, d.withTTL(event), *d.sub.deadLetter,
		kncloudevents.WithHeader(d.headers()),
		kncloudevents.WithRetryConfig(d.sub.waits(d.check, d.pause)),
		kncloudevents.WithTransformers(attributes.KnativeErrorTransformers(*destination.URL(), failed.ResponseCode, errorData(failed.ResponseBody))...),
	)
	switch {
	case err == nil:
		log.Warn("event sent to the dead-letter sink")
		return delivered
	case ctx.Err() != nil:
		return interrupted
	case refused(ctx, info.ResponseCode):
		log.Error("event lost: the dead-letter sink refused it", "error", err)
		return delivered
	}
	log.Error("neither subscriber nor dead-letter sink can be reached; the event is kept", "error", err)
	return unreachable
}

func (d *delivery) withTTL(event cloudevents.Event) cloudevents.Event {
	event = event.Clone()
	if err := knbroker.SetTTL(event.Context, d.item.record.ttl); err != nil {
		d.broker.log.Error("TTL not set on a dead letter", "event", event.ID(), "error", err)
	}
	return event
}

// errorData is an answer's body as knativeerrordata: base64, cut to its bound.
func errorData(body []byte) string {
	const bound = attributes.KnativeErrorDataExtensionMaxLength
	// More would be cut off again: base64 makes 4 characters of 3 bytes.
	encoded := base64.StdEncoding.EncodeToString(body[:min(len(body), bound)])
	return encoded[:min(len(encoded), bound)]
}

// refused says whether an answer's status means that trying again is no use.
func refused(ctx context.Context, status int) bool {
	again, _ := kncloudevents.SelectiveRetry(ctx, &http.Response{StatusCode: status}, nil)
	return !again
}

// take waits for a slot. It fails when the Broker stops.
func (d *delivery) take(ctx context.Context) bool {
	select {
	case d.slots <- struct{}{}:
		return true
	case <-d.broker.stopping:
	case <-ctx.Done():
	}
	return false
}

func (d *delivery) release() { <-d.slots }

// pause waits between retries, with the slot given to others. When the Broker
// stops it ends the delivery.
func (d *delivery) pause(wait time.Duration) {
	d.release()
	if !d.sleep(wait) {
		d.interrupt()
	}
	// attempt gives a slot back in any case, so take one even when interrupted.
	d.slots <- struct{}{}
}

// sleep waits, and returns false as soon as the Broker stops.
func (d *delivery) sleep(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.broker.stopping:
		return false
	}
}
