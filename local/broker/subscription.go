package broker

import (
	"context"
	"fmt"
	"net/url"
	"time"

	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/kncloudevents"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/graf-run/graf/local/knative"
)

// defaultTimeout bounds a request to a subscriber whose Trigger has no timeout:
// as long as Knative Serving lets a request last.
const defaultTimeout = 5 * time.Minute

// name is a namespace and a name in it.
type name struct{ namespace, name string }

func (n name) String() string { return n.namespace + "/" + n.name }

// subscription is a Trigger made ready: everything resolved and compiled.
type subscription struct {
	trigger    name
	broker     name
	brokerURL  *apis.URL
	passes     filter
	subscriber duckv1.Addressable
	deadLetter *duckv1.Addressable
	retry      kncloudevents.RetryConfig
	format     *eventingduckv1.FormatType
	queue      *queue
}

// newSubscription makes a Trigger ready. defaults is its Broker's delivery,
// which stands in where the Trigger states none.
func newSubscription(trigger *eventingv1.Trigger, defaults *eventingduckv1.DeliverySpec, resolver knative.Resolver) (*subscription, error) {
	passes, err := compileFilter(trigger.Spec)
	if err != nil {
		return nil, err
	}
	subscriber, err := resolver.Resolve(trigger.Spec.Subscriber)
	if err != nil {
		return nil, fmt.Errorf("subscriber: %w", err)
	}
	sub := &subscription{
		trigger:    name{trigger.Namespace, trigger.Name},
		broker:     brokerOf(trigger),
		passes:     passes,
		subscriber: addressable(subscriber),
	}
	return sub, sub.setDelivery(trigger.Spec.Delivery, defaults, resolver)
}

func brokerOf(trigger *eventingv1.Trigger) name {
	broker := trigger.Spec.Broker
	if trigger.Spec.BrokerRef != nil {
		broker = trigger.Spec.BrokerRef.Name
	}
	return name{trigger.Namespace, broker}
}

// setDelivery resolves delivery as Knative's Trigger controller does: the
// Trigger's as a whole, else the Broker's; of the dead-letter sink alone the
// Broker's also if the Trigger states other settings.
func (s *subscription) setDelivery(own, defaults *eventingduckv1.DeliverySpec, resolver knative.Resolver) error {
	delivery := own
	if delivery == nil {
		delivery = defaults
	}
	s.retry = kncloudevents.NoRetries()
	s.retry.CheckRetry = kncloudevents.SelectiveRetry
	if delivery != nil {
		var err error
		if s.retry, err = kncloudevents.RetryConfigFromDeliverySpec(*delivery); err != nil {
			return fmt.Errorf("delivery: %w", err)
		}
		s.format = delivery.Format
	}
	if s.retry.RequestTimeout == 0 {
		s.retry.RequestTimeout = defaultTimeout
	}
	return s.setDeadLetter(own, defaults, resolver)
}

func (s *subscription) setDeadLetter(own, defaults *eventingduckv1.DeliverySpec, resolver knative.Resolver) error {
	for _, delivery := range []*eventingduckv1.DeliverySpec{own, defaults} {
		if delivery == nil || delivery.DeadLetterSink == nil {
			continue
		}
		sink, err := resolver.Resolve(*delivery.DeadLetterSink)
		if err != nil {
			return fmt.Errorf("dead-letter sink: %w", err)
		}
		deadLetter := addressable(sink)
		s.deadLetter = &deadLetter
		return nil
	}
	return nil
}

// waits returns the retry settings with each wait done by pause, which lets
// others send in the meantime, and each answer looked at by check first.
func (s *subscription) waits(check kncloudevents.CheckRetry, pause func(time.Duration)) *kncloudevents.RetryConfig {
	config := s.retry
	config.CheckRetry = check
	backoff := s.retry.Backoff
	config.Backoff = attemptPause(backoff, pause)
	return &config
}

func addressable(u *url.URL) duckv1.Addressable {
	return duckv1.Addressable{URL: (*apis.URL)(u)}
}

// wants says whether the event passes the Trigger's filter.
func (s *subscription) wants(ctx context.Context, r *record) bool {
	return s.passes(ctx, r.event)
}
