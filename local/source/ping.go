package source

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/robfig/cron/v3"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"

	"github.com/graf-run/graf/local/knative"
)

// scheduleParser is that of Knative: seconds are optional.
var scheduleParser = cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Ping is a set of PingSources: each sends the same event on its schedule.
type Ping struct {
	ticks  []tick
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// tick is one PingSource.
type tick struct {
	sender   sender
	schedule cron.Schedule
	event    cloudevents.Event
}

// PingOptions change what NewPing makes of the manifests.
type PingOptions struct {
	// Every, if more than 0, stands in for every schedule. On one machine a tick
	// wakes nobody who is not awake, so it may come oftener than in a cluster.
	Every time.Duration
	// Logger gets ticks that could not be sent; by default slog's.
	Logger *slog.Logger
}

// NewPing makes PingSources ready. It fails for one that Knative would refuse,
// or whose sink the resolver does not know.
func NewPing(sources []*sourcesv1.PingSource, resolver knative.Resolver, options PingOptions) (*Ping, error) {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	p := &Ping{}
	for _, source := range sources {
		t, err := newTick(source, resolver, options)
		if err != nil {
			return nil, fmt.Errorf("PingSource %s/%s: %w", source.Namespace, source.Name, err)
		}
		p.ticks = append(p.ticks, t)
	}
	return p, nil
}

func newTick(source *sourcesv1.PingSource, resolver knative.Resolver, options PingOptions) (tick, error) {
	if err := knative.Admit(source); err != nil {
		return tick{}, err
	}
	sink, err := resolver.Resolve(source.Spec.Sink)
	if err != nil {
		return tick{}, fmt.Errorf("sink: %w", err)
	}
	schedule, err := scheduleOf(source, options.Every)
	if err != nil {
		return tick{}, err
	}
	event, err := pingEvent(source)
	return tick{sender: newSender(sink.String(), options.Logger), schedule: schedule, event: event}, err
}

// interval is a schedule of times that lie so far apart.
type interval time.Duration

// Next returns the time after from.
func (i interval) Next(from time.Time) time.Time { return from.Add(time.Duration(i)) }

func scheduleOf(source *sourcesv1.PingSource, every time.Duration) (cron.Schedule, error) {
	if every > 0 {
		return interval(every), nil
	}
	schedule := source.Spec.Schedule
	if source.Spec.Timezone != "" {
		schedule = "CRON_TZ=" + source.Spec.Timezone + " " + schedule
	}
	parsed, err := scheduleParser.Parse(schedule)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", schedule, err)
	}
	if parsed.Next(time.Now()).IsZero() {
		return nil, fmt.Errorf("schedule %q never comes", schedule)
	}
	return parsed, nil
}

func pingEvent(source *sourcesv1.PingSource) (cloudevents.Event, error) {
	event := cloudevents.New()
	event.SetType(sourcesv1.PingSourceEventType)
	event.SetSource(sourcesv1.PingSourceSource(source.Namespace, source.Name))
	if overrides := source.Spec.CloudEventOverrides; overrides != nil {
		for name, value := range overrides.Extensions {
			event.SetExtension(name, value)
		}
	}
	data := []byte(source.Spec.Data)
	if source.Spec.DataBase64 != "" {
		var err error
		if data, err = base64.StdEncoding.DecodeString(source.Spec.DataBase64); err != nil {
			return event, fmt.Errorf("dataBase64: %w", err)
		}
	}
	if len(data) == 0 {
		return event, nil
	}
	return event, event.SetData(source.Spec.ContentType, data)
}

// Start begins the schedules.
func (p *Ping) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	for _, t := range p.ticks {
		p.ended.Go(func() { t.run(ctx) })
	}
}

// Stop ends the schedules, gives up what is being sent, and returns when that is
// done or ctx ends.
func (p *Ping) Stop(ctx context.Context) error {
	if p.cancel == nil {
		return nil
	}
	p.cancel()
	ended := make(chan struct{})
	go func() {
		p.ended.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop ticks: %w", ctx.Err())
	}
}

func (t tick) run(ctx context.Context) {
	for {
		next := t.schedule.Next(time.Now())
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		t.send(ctx, t.schedule.Next(next))
	}
}

// send tries until deadline, when the next tick is due: a Broker that was away
// gets one tick and not a heap.
func (t tick) send(ctx context.Context, deadline time.Time) {
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if err := t.sender.send(limited, t.event.Clone()); err != nil && ctx.Err() == nil {
		t.sender.log.Warn("tick not sent", "source", t.event.Source(), "error", err)
	}
}
