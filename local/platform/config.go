package platform

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/graf-run/graf/local/services"
	"github.com/graf-run/graf/shared/function"
)

// Config says how the platform runs. The tags are its environment variables.
type Config struct {
	// Services are the servers that Graf stands on.
	Services services.Config
	// Programs is the folder of the functions' programs, as make build fills it.
	Programs string
	// Port is the gateway's, BrokerPort the Broker ingress's, KubernetesPort the
	// API server's; 0 takes a free one.
	Port           int `env:"GRAF_PORT" envDefault:"8080"`
	BrokerPort     int `env:"GRAF_BROKER_PORT" envDefault:"18081"`
	KubernetesPort int `env:"GRAF_KUBERNETES_PORT" envDefault:"16443"`
	// Tick replaces the schedule of the PingSources; 0 keeps it. One machine
	// has nothing to save by ticking rarely.
	Tick time.Duration `env:"GRAF_TICK" envDefault:"5s"`
	// TemporalAddress is a Temporal server that exists; with one, the worker runs,
	// too. It reads the other variables that begin with GRAF_TEMPORAL_ itself.
	TemporalAddress string `env:"GRAF_TEMPORAL_ADDRESS"`
	// EmbeddingDimension and EmbeddingModel are passed on to the functions.
	OpenAIKey          string `env:"OPENAI_API_KEY"`
	OpenAIBaseURL      string `env:"OPENAI_BASE_URL"`
	EmbeddingModel     string `env:"OPENAI_EMBEDDING_MODEL"`
	EmbeddingDimension string `env:"OPENAI_EMBEDDING_DIMENSION"`
	// Credentials are what agents log in with: the keys of the Secret graf-agent.
	Credentials map[string]string
	// Settings are added to the functions' environment, NAME=value; every GRAF_
	// variable of the platform's own environment that a function knows is, too.
	Settings []string
	// Log gets the functions' logs as one stream; Progress a line a step.
	Log      io.Writer
	Progress func(step string, took time.Duration)
}

// ConfigFromEnvironment reads the configuration from environment variables.
func ConfigFromEnvironment() (Config, error) {
	var config Config
	err := function.ReadEnvironment(&config, env.ToMap(os.Environ()))
	if err != nil {
		return Config{}, err
	}
	config.Credentials = credentials(os.Getenv)
	config.Services, err = services.ConfigFromEnvironment("GRAF_")
	return config, err
}

// credentials are taken from the user's variables of these names; AGENT_… goes before,
// for agents' use alone.
func credentials(get func(name string) string) map[string]string {
	given := map[string]string{}
	for _, name := range []string{
		"OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "GIT_USERNAME", "GIT_TOKEN",
	} {
		if value := cmp.Or(get("AGENT_"+name), get(name)); value != "" {
			given[name] = value
		}
	}
	return given
}

func (c Config) validate() error {
	if c.Programs == "" {
		return errors.New("no folder of programs given: run make build")
	}
	for name, port := range map[string]int{
		"GRAF_PORT": c.Port, "GRAF_BROKER_PORT": c.BrokerPort, "GRAF_KUBERNETES_PORT": c.KubernetesPort,
	} {
		if port < 0 || port > 65535 {
			return fmt.Errorf("%s is %d: use 0 (a free one) to 65535", name, port)
		}
	}
	return nil
}

// programNames are the functions, and the worker where Temporal is.
func (c Config) programNames() []string {
	if c.TemporalAddress == "" {
		return functionNames
	}
	return append(slices.Clone(functionNames), "worker")
}

func (c Config) folder(parts ...string) string {
	return filepath.Join(append([]string{c.Services.DataFolder}, parts...)...)
}
