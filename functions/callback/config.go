package callback

import (
	"fmt"
	"time"

	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/redisdb"
	"github.com/graf-run/graf/shared/sink"
)

// Config is the function's environment.
type Config struct {
	Postgres  postgres.Config
	Redis     redisdb.Config
	Sink      sink.Config
	Artifacts artifact.Config
	Rate      limiter.RateConfig
	// Callers are those who may read events, by their tokens.
	Callers auth.Callers `env:"GRAF_API_BEARER_TOKENS,required,notEmpty"`
	// Enabled is whether events are taken and shown; if not, every request is
	// answered 503.
	Enabled bool `env:"GRAF_CODEX_TASKS_ENABLED" envDefault:"true"`
	Stream  StreamConfig
	Actions ActionsConfig
}

// ActionsConfig says where tasks' actions are carried out, and how many at a time.
type ActionsConfig struct {
	Kubernetes kube.Config
	Policy     policy.Config
	// Namespace is where launch makes Jobs, and the service accounts that tasks act as.
	Namespace string `env:"GRAF_EXECUTION_NAMESPACE" envDefault:"graf"`
	// Max is how many requests one instance carries out at a time; more are
	// answered 503. Each may hold some 4 MiB of manifests.
	Max int `env:"GRAF_ACTIONS_MAX" envDefault:"8"`
	// MaxApprovals is how many approvals of one task may be open for it to ask for another.
	MaxApprovals int `env:"GRAF_APPROVALS_MAX" envDefault:"20"`
}

// StreamConfig bounds the event streams of one instance.
type StreamConfig struct {
	// Max is how many may be open at a time; more are answered 503.
	Max int `env:"GRAF_STREAMS_MAX" envDefault:"100"`
	// Poll is how often a stream looks for what no notification told it of: the
	// task's end, and events whose notification was lost.
	Poll time.Duration `env:"GRAF_STREAM_POLL" envDefault:"2s"`
	// Heartbeat is the longest that a stream is silent, so that proxies keep it open.
	Heartbeat time.Duration `env:"GRAF_STREAM_HEARTBEAT" envDefault:"15s"`
	// WriteTimeout is how long a client may take to read before it is dropped.
	WriteTimeout time.Duration `env:"GRAF_STREAM_WRITE_TIMEOUT" envDefault:"10s"`
}

// Validate tells what is wrong with the configuration, or nil.
func (c *Config) Validate() error {
	if c.Stream.Max < 1 || c.Stream.Max > 10_000 {
		return fmt.Errorf("GRAF_STREAMS_MAX is %d: give 1 to 10000", c.Stream.Max)
	}
	if c.Actions.Max < 1 || c.Actions.Max > 1000 {
		return fmt.Errorf("GRAF_ACTIONS_MAX is %d: give 1 to 1000", c.Actions.Max)
	}
	if c.Actions.MaxApprovals < 1 || c.Actions.MaxApprovals > 1000 {
		return fmt.Errorf("GRAF_APPROVALS_MAX is %d: give 1 to 1000", c.Actions.MaxApprovals)
	}
	for name, span := range map[string]time.Duration{
		"GRAF_STREAM_POLL": c.Stream.Poll, "GRAF_STREAM_HEARTBEAT": c.Stream.Heartbeat,
		"GRAF_STREAM_WRITE_TIMEOUT": c.Stream.WriteTimeout,
	} {
		if span < 10*time.Millisecond || span > time.Minute {
			return fmt.Errorf("%s is %v: give 10ms to 1m", name, span)
		}
	}
	return nil
}
