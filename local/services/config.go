package services

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"

	"github.com/caarlos0/env/v11"

	"github.com/graf-run/graf/shared/function"
)

// Dependencies tells what runs the servers.
type Dependencies string

const (
	// Local runs the programs that local/install.sh installs.
	Local Dependencies = "apt"
	// Compose has Docker Compose run local/compose.yaml.
	Compose Dependencies = "compose"
)

// Default ports: the usual ones with a 1 before, so that they meet no server
// that runs already, and below the range from which the kernel takes the
// ports of outgoing connections.
const (
	DefaultPostgresPort = 15432
	DefaultRedisPort    = 16379
	DefaultS3Port       = 19000
	// DefaultEmbeddingsPort is that of the offline model.
	DefaultEmbeddingsPort = 18090
)

// Config says where the servers run. Its environment variables are Graf's own.
type Config struct {
	// DataFolder holds everything the servers write. For root on a machine
	// that refuses user namespaces, user postgres must be able to reach it.
	DataFolder string
	// Ephemeral is for tests: free ports, a new folder within DataFolder that
	// Stop removes, and a Postgres that does not wait for the disk.
	Ephemeral bool
	// Dependencies tells what runs the servers.
	Dependencies Dependencies `env:"DEPS" envDefault:"apt"`
	// PostgresPort, RedisPort and S3Port are what the servers listen on.
	PostgresPort int `env:"GRAF_POSTGRES_PORT" envDefault:"15432"`
	RedisPort    int `env:"GRAF_REDIS_PORT" envDefault:"16379"`
	S3Port       int `env:"GRAF_S3_PORT" envDefault:"19000"`
	// Listen is the address of this machine that they listen on; empty is loopback.
	Listen string `env:"-"`
	// Embeddings is the program graf-embeddings, to serve the offline model too;
	// empty for not. EmbeddingsPort is what it listens on.
	Embeddings     string `env:"-"`
	EmbeddingsPort int    `env:"GRAF_EMBEDDINGS_PORT" envDefault:"18090"`
	// Kubernetes is the program that cluster/apiserver.sh prints, to run an API
	// server too; empty for not. It is for an ephemeral set on loopback alone.
	Kubernetes string `env:"-"`
	// Existing names servers that exist: for each part that is set, none is
	// started.
	Existing Connection `env:"-"`
}

// Connection is how clients reach the servers.
type Connection struct {
	DatabaseURL string `env:"DATABASE_URL"`
	RedisURL    string `env:"REDIS_URL"`
	S3          S3Connection
}

// S3Connection is how clients reach the object storage.
type S3Connection struct {
	Endpoint        string `env:"S3_ENDPOINT"`
	Region          string `env:"S3_REGION"`
	AccessKeyID     string `env:"S3_ACCESS_KEY_ID"`
	SecretAccessKey string `env:"S3_SECRET_ACCESS_KEY"`
}

// TestKubeconfig names the environment variable that tells tests the kubeconfig
// of an administrator.
const TestKubeconfig = "GRAF_TEST_KUBECONFIG"

// ConfigFromEnvironment reads the configuration from environment variables.
// Those that name existing servers start with prefix: "GRAF_", or "GRAF_TEST_"
// for tests, which must not write to the servers of a running platform.
func ConfigFromEnvironment(prefix string) (Config, error) {
	var config Config
	err := function.ReadEnvironment(&config, env.ToMap(os.Environ()))
	if err != nil {
		return Config{}, err
	}
	config.Existing, err = env.ParseAsWithOptions[Connection](env.Options{Prefix: prefix})
	return config, err
}

// Environment gives the connection as environment variables, NAME=value, each
// name starting with prefix.
func (c Connection) Environment(prefix string) []string {
	return []string{
		prefix + "DATABASE_URL=" + c.DatabaseURL,
		prefix + "REDIS_URL=" + c.RedisURL,
		prefix + "S3_ENDPOINT=" + c.S3.Endpoint,
		prefix + "S3_REGION=" + c.S3.Region,
		prefix + "S3_ACCESS_KEY_ID=" + c.S3.AccessKeyID,
		prefix + "S3_SECRET_ACCESS_KEY=" + c.S3.SecretAccessKey,
	}
}

func (c Config) validate() error {
	var errs []error
	if c.DataFolder == "" {
		errs = append(errs, errors.New("no data folder given"))
	}
	if c.Dependencies != Local && c.Dependencies != Compose {
		errs = append(errs, fmt.Errorf("DEPS=%s is unknown: use apt or compose", c.Dependencies))
	}
	if c.Listen != "" && net.ParseIP(c.Listen) == nil {
		errs = append(errs, fmt.Errorf("the address to listen on is %q: give an IP address of this machine", c.Listen))
	}
	if c.Listen != "" && c.Dependencies == Compose {
		errs = append(errs, errors.New("an address to listen on is not for DEPS=compose, whose servers listen on loopback"))
	}
	if c.Kubernetes != "" && (!c.Ephemeral || c.Listen != "") {
		errs = append(errs, errors.New("a Kubernetes API server is for tests: ask for an ephemeral set on loopback"))
	}
	if !c.Ephemeral { // which takes free ports
		errs = append(errs, c.validatePorts())
	}
	return errors.Join(append(errs, c.Existing.validate())...)
}

func (c Config) validatePorts() error {
	var errs []error
	used := map[string]int{portOfPostgres: c.PostgresPort, portOfRedis: c.RedisPort, portOfS3: c.S3Port}
	if c.Embeddings != "" {
		used[portOfEmbeddings] = c.EmbeddingsPort
	}
	ports := map[int]string{}
	for variable, port := range used {
		if port < 1 || port > 65535 {
			errs = append(errs, fmt.Errorf("%s is %d: use 1 to 65535", variable, port))
		}
		if other, taken := ports[port]; taken {
			errs = append(errs, fmt.Errorf("%s and %s are both %d: choose two ports", variable, other, port))
		}
		ports[port] = variable
	}
	return errors.Join(errs...)
}

func (c Connection) validate() error {
	for name, text := range map[string]string{"DATABASE_URL": c.DatabaseURL, "REDIS_URL": c.RedisURL, "S3_ENDPOINT": c.S3.Endpoint} {
		if text == "" {
			continue
		}
		// The text is not shown: it may hold a password.
		if u, err := url.Parse(text); err != nil || u.Host == "" {
			return fmt.Errorf("GRAF_%s is no URL with a host", name)
		}
	}
	if c.S3.Endpoint != "" && (c.S3.AccessKeyID == "" || c.S3.SecretAccessKey == "") {
		return errors.New("GRAF_S3_ENDPOINT is set without GRAF_S3_ACCESS_KEY_ID and GRAF_S3_SECRET_ACCESS_KEY")
	}
	return nil
}

const (
	portOfPostgres   = "GRAF_POSTGRES_PORT"
	portOfRedis      = "GRAF_REDIS_PORT"
	portOfS3         = "GRAF_S3_PORT"
	portOfEmbeddings = "GRAF_EMBEDDINGS_PORT"
)
