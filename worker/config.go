package worker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/graf-run/graf/functions/finalize"
	"github.com/graf-run/graf/functions/launch"
)

// Config is the worker's environment: that of launch and of finalize, whose work
// it does, and Temporal.
type Config struct {
	Launch   launch.Config
	Finalize finalize.Config
	Temporal TemporalConfig
}

// TemporalConfig says how Temporal is reached.
type TemporalConfig struct {
	// Address is the frontend's host:port.
	Address string `env:"GRAF_TEMPORAL_ADDRESS,required,notEmpty"`
	// Namespace is Temporal's, not Kubernetes'. It must exist.
	Namespace string `env:"GRAF_TEMPORAL_NAMESPACE" envDefault:"default"`
	// TaskQueue is what the workers of one installation share.
	TaskQueue string `env:"GRAF_TEMPORAL_TASK_QUEUE" envDefault:"graf"`
	// CAFile has the certificates of the server's authority, if the system does
	// not know it; CertFile and KeyFile are for a server that asks who calls.
	CAFile   string `env:"GRAF_TEMPORAL_TLS_CA_FILE"`
	CertFile string `env:"GRAF_TEMPORAL_TLS_CERT_FILE"`
	KeyFile  string `env:"GRAF_TEMPORAL_TLS_KEY_FILE"`
	// APIKey is Temporal Cloud's; it goes by TLS alone.
	APIKey string `env:"GRAF_TEMPORAL_API_KEY"`
}

// Validate tells what is wrong, or nil.
func (c Config) Validate() error {
	return errors.Join(c.Launch.Validate(), c.Finalize.Validate(), c.Temporal.Validate())
}

// Validate tells what is wrong, or nil.
func (c TemporalConfig) Validate() error {
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("GRAF_TEMPORAL_TLS_CERT_FILE and GRAF_TEMPORAL_TLS_KEY_FILE: give both or none")
	}
	return nil
}

// options are those of a client. Errors are of files that cannot be read.
func (c TemporalConfig) options() (client.Options, error) {
	o := client.Options{
		HostPort: c.Address, Namespace: c.Namespace, Logger: log.NewStructuredLogger(slog.Default()),
	}
	if c.APIKey != "" {
		o.Credentials = client.NewAPIKeyStaticCredentials(c.APIKey)
	}
	transport, err := c.tls()
	o.ConnectionOptions.TLS = transport
	return o, err
}

// tls is nil where nothing asks for it.
func (c TemporalConfig) tls() (*tls.Config, error) {
	if c.APIKey == "" && c.CAFile == "" && c.CertFile == "" {
		return nil, nil //nolint:nilnil // the SDK takes nil for no TLS
	}
	transport := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		authority, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("GRAF_TEMPORAL_TLS_CA_FILE: %w", err)
		}
		transport.RootCAs = x509.NewCertPool()
		if !transport.RootCAs.AppendCertsFromPEM(authority) {
			return nil, fmt.Errorf("GRAF_TEMPORAL_TLS_CA_FILE: %s has no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		own, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("GRAF_TEMPORAL_TLS_CERT_FILE, GRAF_TEMPORAL_TLS_KEY_FILE: %w", err)
		}
		transport.Certificates = []tls.Certificate{own}
	}
	return transport, nil
}
