package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"

	"github.com/graf-run/graf/local/knative"
)

// Config says what a Broker serves and within which bounds. Zero bounds mean
// the defaults.
type Config struct {
	// Brokers and Triggers are what is served; at least one Broker. Triggers can
	// be added later.
	Brokers  []*eventingv1.Broker
	Triggers []*eventingv1.Trigger
	// Resolver finds subscribers, dead-letter sinks and the Brokers themselves.
	Resolver knative.Resolver
	// Path is the file of undelivered events; made if it does not exist.
	Path string
	// Logger gets what goes wrong; by default slog's.
	Logger *slog.Logger

	// MaxEventBytes bounds a request's body, and a subscriber's answer; by
	// default 4 MiB. A larger one is answered 413.
	MaxEventBytes int64
	// MaxPendingBytes bounds the undelivered events in all, by default 1 GiB.
	// Beyond it ingress answers 503.
	MaxPendingBytes int64
	// MaxRequests bounds the requests under way to one Trigger's subscriber, by
	// default 64. Deliveries that wait to be retried do not count.
	MaxRequests int
	// MaxDeliveries bounds one Trigger's deliveries that have begun, those that
	// wait to be retried included; by default 1,024. The rest waits on disk.
	MaxDeliveries int
	// SyncInterval is how long a stored event may stay in the operating system's
	// cache before it is forced to disk, by default 1 s.
	SyncInterval time.Duration
	// RedeliverAfter is the pause before a delivery begins anew after its
	// dead-letter sink could not be reached either; by default 30 s.
	RedeliverAfter time.Duration
}

// ErrConfig is wrapped by the errors of a Config that cannot work.
var ErrConfig = errors.New("broker: wrong configuration")

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	setDefault(&c.MaxEventBytes, 4<<20)
	setDefault(&c.MaxPendingBytes, 1<<30)
	setDefault(&c.MaxRequests, 64)
	setDefault(&c.MaxDeliveries, 1024)
	setDefault(&c.SyncInterval, time.Second)
	setDefault(&c.RedeliverAfter, 30*time.Second)
	return c
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

func (c Config) validate() error {
	switch {
	case c.Path == "":
		return fmt.Errorf("%w: Path is empty; name a file for undelivered events", ErrConfig)
	case len(c.Brokers) == 0:
		return fmt.Errorf("%w: no Brokers; load at least one", ErrConfig)
	case c.MaxEventBytes < 0 || c.MaxPendingBytes < 0 || c.MaxRequests < 0 || c.MaxDeliveries < 0:
		return fmt.Errorf("%w: a bound is negative", ErrConfig)
	case c.SyncInterval < 0 || c.RedeliverAfter < 0:
		return fmt.Errorf("%w: an interval is negative", ErrConfig)
	}
	return nil
}
