package submit

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/auth"
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
	Policy    policy.Config
	// Callers are those who may use the HTTP API, by their tokens.
	Callers auth.Callers `env:"GRAF_API_BEARER_TOKENS,required,notEmpty"`
	// Operators are those callers who may see dead letters, send them again, and run the tasks of others again.
	Operators auth.Operators `env:"GRAF_OPERATORS"`
	// Enabled is whether tasks are taken and shown; if not, every request is
	// answered 503 and events are delivered again later.
	Enabled bool `env:"GRAF_CODEX_TASKS_ENABLED" envDefault:"true"`
	// CallbackBaseURL and MemoryBaseURL are where agents reach the callback and
	// the memory function, without a path.
	CallbackBaseURL string `env:"GRAF_CALLBACK_BASE_URL,required,notEmpty"`
	MemoryBaseURL   string `env:"GRAF_MEMORY_BASE_URL,required,notEmpty"`
	// EventSources are the CloudEvent sources that may submit tasks.
	EventSources EventSources `env:"GRAF_EVENT_SOURCES"`
}

// Validate tells what is wrong with the configuration, or nil.
func (c *Config) Validate() error {
	for name, base := range map[string]*string{
		"GRAF_CALLBACK_BASE_URL": &c.CallbackBaseURL, "GRAF_MEMORY_BASE_URL": &c.MemoryBaseURL,
	} {
		u, err := url.Parse(*base)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("%s is %q: give an http or https URL such as https://graf.example.com", name, *base)
		}
		*base = strings.TrimRight(*base, "/")
	}
	return nil
}

// EventSources maps a CloudEvent source to the caller that it acts for.
type EventSources map[string]string

var callerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// UnmarshalText reads source=caller pairs that commas or spaces separate. A
// source is a URI, so the last equals sign is the one that counts.
func (s *EventSources) UnmarshalText(text []byte) error {
	sources := EventSources{}
	separated := func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' }
	for _, pair := range strings.FieldsFunc(string(text), separated) {
		at := strings.LastIndexByte(pair, '=')
		if at < 1 || !callerName.MatchString(pair[at+1:]) {
			return fmt.Errorf("%q is not source=caller, such as /cluster/drift-detector=ops", pair)
		}
		source, caller := pair[:at], pair[at+1:]
		if other, ok := sources[source]; ok && other != caller {
			return fmt.Errorf("source %q acts for %s and for %s: list it once", source, other, caller)
		}
		sources[source] = caller
	}
	*s = sources
	return nil
}
