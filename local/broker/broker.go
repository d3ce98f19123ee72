package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	cloudevents "github.com/cloudevents/sdk-go/v2/client"
	"go.uber.org/zap"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	knbroker "knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/eventingtls"
	"knative.dev/eventing/pkg/kncloudevents"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/graf-run/graf/local/knative"
)

const (
	// maxTTL is how often an event may come back as a reply; Knative's default.
	maxTTL = 255
	// idleConnections is how many connections to subscribers are kept; Knative's
	// ingress keeps as many.
	idleConnections = 1000
)

// ErrUnknownBroker is wrapped by the error for a Trigger of a Broker that is not
// served.
var ErrUnknownBroker = errors.New("unknown Broker")

// Broker serves the Brokers of a Config. It is an http.Handler: their ingress.
type Broker struct {
	config     Config
	log        *slog.Logger
	journal    *journal
	dispatcher *kncloudevents.Dispatcher
	setTTL     cloudevents.EventDefaulter

	// aborted ends when Stop will wait no longer; stopping closes when it begins.
	aborted  context.Context
	abort    context.CancelFunc
	stopping chan struct{}

	// accepting is held for reading while a request is taken in.
	accepting sync.RWMutex
	stopped   bool

	mu      sync.RWMutex
	brokers map[name]*served
	// left is what was on disk at the start for Triggers not yet added.
	left    map[string][]uint64
	running bool
}

// served is one Broker and its Triggers.
type served struct {
	delivery      *eventingduckv1.DeliverySpec
	subscriptions []*subscription
}

// New opens the file of undelivered events and makes ready what config names.
// Events are taken at once; deliveries begin with Start.
func New(config Config) (*Broker, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	// The dispatcher's connections are shared by the process; setting the same
	// again changes nothing.
	kncloudevents.ConfigureConnectionArgs(&kncloudevents.ConnectionArgs{
		MaxIdleConns: idleConnections, MaxIdleConnsPerHost: idleConnections,
	})
	journal, err := openJournal(config.Path, config.SyncInterval, config.MaxPendingBytes, config.Logger)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		config: config, log: config.Logger, journal: journal,
		dispatcher: kncloudevents.NewDispatcher(eventingtls.ClientConfig{}, nil),
		setTTL:     knbroker.TTLDefaulter(zap.NewNop(), maxTTL),
		stopping:   make(chan struct{}),
		brokers:    map[name]*served{},
	}
	b.aborted, b.abort = context.WithCancel(silence(context.Background()))
	if err := b.load(); err != nil {
		return nil, errors.Join(err, journal.close())
	}
	return b, nil
}

func (b *Broker) load() error {
	var err error
	if b.left, err = b.journal.pending(); err != nil {
		return err
	}
	for _, broker := range b.config.Brokers {
		if err := knative.Admit(broker); err != nil {
			return err
		}
		b.brokers[name{broker.Namespace, broker.Name}] = &served{delivery: broker.Spec.Delivery}
	}
	for _, trigger := range b.config.Triggers {
		if err := b.AddTrigger(trigger); err != nil {
			return err
		}
	}
	return nil
}

// AddTrigger makes a Trigger part of its Broker: it gets the events that are
// accepted from now on, and what was stored for it when the Broker was last
// stopped. A Trigger of the same name is not replaced; that is an error.
func (b *Broker) AddTrigger(trigger *eventingv1.Trigger) error {
	if err := knative.Admit(trigger); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	broker := b.brokers[brokerOf(trigger)]
	if broker == nil {
		return fmt.Errorf("add Trigger %s/%s: %w %s", trigger.Namespace, trigger.Name, ErrUnknownBroker, brokerOf(trigger))
	}
	sub, err := newSubscription(trigger, broker.delivery, b.config.Resolver)
	if err != nil {
		return fmt.Errorf("add Trigger %s/%s: %w", trigger.Namespace, trigger.Name, err)
	}
	for _, other := range broker.subscriptions {
		if other.trigger == sub.trigger {
			return fmt.Errorf("add Trigger %s: it exists already", sub.trigger)
		}
	}
	b.begin(broker, sub)
	return nil
}

// begin gives a subscription its queue. The caller holds the lock.
func (b *Broker) begin(broker *served, sub *subscription) {
	sub.brokerURL = b.addressOf(sub.broker)
	slots := make(chan struct{}, b.config.MaxRequests)
	sub.queue = newQueue(b.config.MaxDeliveries, func(next item) {
		b.deliver(&delivery{broker: b, sub: sub, slots: slots, item: next})
	})
	for _, sequence := range b.left[sub.trigger.String()] {
		sub.queue.push(item{sequence: sequence})
	}
	delete(b.left, sub.trigger.String())
	// A new slice, because accept reads the old one without the lock.
	broker.subscriptions = append(broker.subscriptions[:len(broker.subscriptions):len(broker.subscriptions)], sub)
	if b.running {
		sub.queue.start()
	}
}

// Start begins deliveries, those left from before first. What is left for a
// Trigger that is gone is dropped, as deleting a Trigger drops its events.
func (b *Broker) Start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = true
	for trigger, sequences := range b.left {
		b.log.Warn("undelivered events dropped, their Trigger is gone", "trigger", trigger, "events", len(sequences))
		for _, sequence := range sequences {
			b.journal.strike(sequence, trigger)
		}
	}
	b.left = nil
	for _, sub := range b.subscriptions() {
		sub.queue.start()
	}
}

// Stop takes no more events, lets requests to subscribers that are under way
// finish until ctx ends, then cuts them off, and closes the file. What was not
// delivered stays in it. A Broker cannot be started again.
func (b *Broker) Stop(ctx context.Context) error {
	b.accepting.Lock()
	again := b.stopped
	b.stopped = true
	b.accepting.Unlock()
	if again {
		return nil
	}
	close(b.stopping)
	b.mu.RLock()
	subscriptions := b.subscriptions()
	b.mu.RUnlock()
	for _, sub := range subscriptions {
		sub.queue.stop()
	}
	cutOff := context.AfterFunc(ctx, b.abort)
	for _, sub := range subscriptions {
		sub.queue.wait()
	}
	cutOff()
	b.abort()
	for _, sub := range subscriptions {
		sub.forgetConnections()
	}
	return b.journal.close()
}

// Undelivered counts the events that some Trigger still has to deliver.
func (b *Broker) Undelivered() int { return b.journal.undelivered() }

// subscriptions returns those of every Broker. The caller holds the lock.
func (b *Broker) subscriptions() []*subscription {
	var all []*subscription
	for _, broker := range b.brokers {
		all = append(all, broker.subscriptions...)
	}
	return all
}

func (s *subscription) forgetConnections() {
	kncloudevents.DeleteAddressableHandler(s.subscriber)
	if s.deadLetter != nil {
		kncloudevents.DeleteAddressableHandler(duckv1.Addressable{URL: s.deadLetter.URL})
	}
}
