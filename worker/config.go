package worker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

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
			return nil, unreadable("GRAF_TEMPORAL_TLS_CA_FILE", err)
		}
		transport.RootCAs = x509.NewCertPool()
		if !transport.RootCAs.AppendCertsFromPEM(authority) {
			return nil, fmt.Errorf("GRAF_TEMPORAL_TLS_CA_FILE: %s has no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		own, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, unreadable("GRAF_TEMPORAL_TLS_CERT_FILE, GRAF_TEMPORAL_TLS_KEY_FILE", err)
		}
		transport.Certificates = []tls.Certificate{own}
	}
	return transport, nil
}

// unreadable says of which settings an error is, and where a missing file should be.
func unreadable(settings string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w; on a cluster, add it to Secret graf-temporal, whose keys are files in /var/run/graf/temporal", settings, err)
	}
	return fmt.Errorf("%s: %w", settings, err)
}

const mendEnded = "the server may want TLS: set GRAF_TEMPORAL_TLS_CA_FILE or GRAF_TEMPORAL_API_KEY; " +
	"or a certificate: GRAF_TEMPORAL_TLS_CERT_FILE and GRAF_TEMPORAL_TLS_KEY_FILE"

// mends are what to do about errors of Temporal's client, by a part of their text:
// gRPC gives most of them as text alone. The first that fits counts.
var mends = []struct{ sign, mend string }{
	{"Unauthenticated", "Temporal does not know who calls: check GRAF_TEMPORAL_API_KEY"},
	{"unauthorized", "give the API key of GRAF_TEMPORAL_API_KEY, or the certificate of GRAF_TEMPORAL_TLS_CERT_FILE, rights to GRAF_TEMPORAL_NAMESPACE"},
	{"is not found", "make that namespace in Temporal, or name another in GRAF_TEMPORAL_NAMESPACE"},
	{"certificate is not valid for", "GRAF_TEMPORAL_ADDRESS must have a name that the server's certificate has"},
	{"certificate is valid for", "GRAF_TEMPORAL_ADDRESS must have a name that the server's certificate has"},
	{"signed by unknown authority", "GRAF_TEMPORAL_TLS_CA_FILE must have the certificates of the authority that the server's certificate is of"},
	{
		"remote error: tls",
		"the server asks for a certificate of an authority that it knows: GRAF_TEMPORAL_TLS_CERT_FILE and GRAF_TEMPORAL_TLS_KEY_FILE",
	},
	{
		"does not look like a TLS handshake",
		"the server has no TLS: unset GRAF_TEMPORAL_TLS_CA_FILE, GRAF_TEMPORAL_TLS_CERT_FILE and GRAF_TEMPORAL_API_KEY, which all ask for it",
	},
	{"error reading server preface", mendEnded},
	{"broken pipe", mendEnded}, // so, too, may look that a certificate is refused
	{"connection reset", mendEnded},
	{"while dialing", "GRAF_TEMPORAL_ADDRESS must be the frontend's host:port, and network policies let the worker reach it"},
}

// withMend adds what to do about an error, where that is known.
func withMend(err error) error {
	for _, m := range mends {
		if err != nil && strings.Contains(err.Error(), m.sign) {
			return fmt.Errorf("%w: %s", err, m.mend)
		}
	}
	return err
}
