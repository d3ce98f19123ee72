package finalize

import (
	"errors"
	"fmt"
	"time"

	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/redisdb"
	"github.com/graf-run/graf/shared/retry"
	"github.com/graf-run/graf/shared/sink"
)

// Config is the function's environment.
type Config struct {
	Postgres   postgres.Config
	Redis      redisdb.Config
	Sink       sink.Config
	Kubernetes kube.Config
	Artifacts  artifact.Config
	Slots      limiter.SlotsConfig
	// Namespace is where launch makes Jobs. Naming it lets finalize do with the
	// rights of that namespace.
	Namespace string `env:"GRAF_EXECUTION_NAMESPACE" envDefault:"graf"`
	// RetryBase is the wait before a failed task's second attempt; it doubles
	// with each further one up to RetryMax, with jitter.
	RetryBase time.Duration `env:"GRAF_RETRY_BASE" envDefault:"1s"`
	RetryMax  time.Duration `env:"GRAF_RETRY_MAX" envDefault:"5m"`
	// StaleAfter is how long a step may take before the sweep takes it up.
	StaleAfter time.Duration `env:"GRAF_STALE_AFTER" envDefault:"30s"`
	// Grace is how long after its deadline, or after the grace period of its pod
	// once it was deleted, an execution may still be ending before the sweep ends
	// the task without it.
	Grace time.Duration `env:"GRAF_DEADLINE_GRACE" envDefault:"60s"`
	// LogMaxBytes bounds what is kept of one attempt's log; 0 keeps none.
	LogMaxBytes int `env:"GRAF_LOG_MAX_BYTES" envDefault:"16777216"`
	// LogTimeout bounds the reading of one log.
	LogTimeout time.Duration `env:"GRAF_LOG_TIMEOUT" envDefault:"15s"`
	// LogWait is how long a task's end waits for object storage, or the API server, to keep the log; and for object
	// storage that refuses to have an artifact checked.
	LogWait time.Duration `env:"GRAF_LOG_WAIT" envDefault:"1m"`
	// MaxResourceEvents bounds how often a task is told of changes of its
	// resources and executions; 0 is never.
	MaxResourceEvents int64 `env:"GRAF_RESOURCE_EVENTS_MAX" envDefault:"100"`
}

// Bounds of LogMaxBytes.
const (
	minLog = 4 << 10
	maxLog = 1 << 30
)

// Validate tells what is wrong, or nil.
func (c Config) Validate() error {
	if c.StaleAfter <= 0 || c.Grace < 0 {
		return errors.New("GRAF_STALE_AFTER must be longer than zero and GRAF_DEADLINE_GRACE not negative, such as 30s")
	}
	if c.LogMaxBytes != 0 && (c.LogMaxBytes < minLog || c.LogMaxBytes > maxLog) {
		return fmt.Errorf("GRAF_LOG_MAX_BYTES is %d: give %d (4 KiB) to %d (1 GiB), or 0 for no logs", c.LogMaxBytes, minLog, maxLog)
	}
	if c.LogTimeout <= 0 || c.LogWait < 0 {
		return errors.New("GRAF_LOG_TIMEOUT must be longer than zero and GRAF_LOG_WAIT not negative, such as 15s")
	}
	if c.MaxResourceEvents < 0 {
		return errors.New("GRAF_RESOURCE_EVENTS_MAX must be 0 or more, such as 100")
	}
	return errors.Join(c.Slots.Validate(), c.retry().Validate())
}

func (c Config) retry() retry.Config {
	r := retry.DefaultConfig()
	r.Base, r.Max = c.RetryBase, c.RetryMax
	return r
}
