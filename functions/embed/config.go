package embed

import (
	"time"

	"github.com/graf-run/graf/shared/embedding"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/redisdb"
	"github.com/graf-run/graf/shared/retry"
)

// Config is the function's environment.
type Config struct {
	Postgres  postgres.Config
	Redis     redisdb.Config
	Embedding embedding.Config
	// RetryBase is the wait after a task's first failed embedding; it doubles
	// with each further one up to RetryMax.
	RetryBase time.Duration `env:"GRAF_EMBEDDING_RETRY_BASE" envDefault:"5s"`
	RetryMax  time.Duration `env:"GRAF_EMBEDDING_RETRY_MAX" envDefault:"15m"`
	// RetryAttempts is after how many failures a task's texts are given up.
	RetryAttempts int `env:"GRAF_EMBEDDING_RETRY_ATTEMPTS" envDefault:"12"`
}

func (c Config) retry() retry.Config {
	r := retry.DefaultConfig()
	r.Base, r.Max, r.MaxAttempts = c.RetryBase, c.RetryMax, c.RetryAttempts
	return r
}
