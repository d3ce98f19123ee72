package memory

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/embedding"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/redisdb"
)

// Config is the function's environment.
type Config struct {
	Postgres  postgres.Config
	Redis     redisdb.Config
	Embedding embedding.Config
	Rate      limiter.RateConfig
	// Callers are those who may use the HTTP API, by their tokens. A task's own
	// token is good for that task, too.
	Callers auth.Callers `env:"GRAF_API_BEARER_TOKENS,required,notEmpty"`
	// Operators are those callers who may forget the memories of others' tasks.
	Operators auth.Operators `env:"GRAF_OPERATORS"`
	// CallbackBaseURL is where the callback function is, without a path: the tools that
	// report and ask for approvals call it, with the token that they are called with.
	CallbackBaseURL *url.URL `env:"GRAF_CALLBACK_BASE_URL,required,notEmpty"`
	// Enabled is whether memory is searched; if not, every request is answered 503.
	Enabled bool `env:"GRAF_CODEX_MEMORY_ENABLED" envDefault:"true"`
	// EmbeddingWait is how long a query's text may wait for its vector before
	// it is searched for by full text alone.
	EmbeddingWait time.Duration `env:"GRAF_MEMORY_EMBEDDING_WAIT" envDefault:"2s"`
}

// Validate tells what is wrong with the configuration, or nil.
func (c *Config) Validate() error {
	// The rest of requestTimeout is for the search.
	if c.EmbeddingWait <= 0 || c.EmbeddingWait > requestTimeout/2 {
		return fmt.Errorf("GRAF_MEMORY_EMBEDDING_WAIT is %s: give a duration of more than 0 and at most %s",
			c.EmbeddingWait, requestTimeout/2)
	}
	if c.CallbackBaseURL.Host == "" || (c.CallbackBaseURL.Scheme != "http" && c.CallbackBaseURL.Scheme != "https") {
		return errors.New("GRAF_CALLBACK_BASE_URL: give a URL such as http://graf-callback.graf.svc.cluster.local")
	}
	return nil
}
