package kube

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Client-side rate limits, in requests per second. client-go's defaults (5 and 10) would throttle a burst of launches;
// how many Jobs run at once is already bounded by Graf's slots, and the API server sheds load by priority and fairness.
const (
	requestsPerSecond = 1000
	requestBurst      = 2000
)

// Config says how to reach the API server.
type Config struct {
	// Kubeconfig is the path of a kubeconfig file, or a list of them as kubectl takes it. Empty means the service
	// account of the pod that the process runs in.
	Kubeconfig string `env:"KUBECONFIG"`
	// Timeout bounds each request, whatever deadline its context has.
	Timeout time.Duration `env:"GRAF_KUBERNETES_TIMEOUT" envDefault:"10s"`
	// SnapshotBytes bounds the manifests of one snapshot, in canonical form; 0 is the default.
	SnapshotBytes int64 `env:"GRAF_SNAPSHOT_MAX_BYTES" envDefault:"16777216"`
}

// defaultSnapshotBytes is 16 MiB.
const defaultSnapshotBytes = 16 << 20

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	if c.Timeout <= 0 {
		return errors.New("GRAF_KUBERNETES_TIMEOUT must be longer than zero, for example 10s")
	}
	if c.SnapshotBytes < 0 {
		return fmt.Errorf("GRAF_SNAPSHOT_MAX_BYTES is %d: give a number of bytes, for example %d", c.SnapshotBytes, defaultSnapshotBytes)
	}
	return nil
}

// REST returns client-go's settings for c: where the API server is, who calls, and the limits of each call.
func (c Config) REST() (*rest.Config, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	config, err := c.load()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = requestsPerSecond, requestBurst
	config.Timeout = c.Timeout
	config.UserAgent = "graf"
	config.WarningHandler = warnings{}
	return config, nil
}

func (c Config) load() (*rest.Config, error) {
	if c.Kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("no KUBECONFIG is set and this process is not in a pod: %w", err)
		}
		return config, nil
	}
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(c.Kubeconfig)}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("KUBECONFIG=%s: %w", c.Kubeconfig, err)
	}
	return config, nil
}

// warnings logs the API server's warning headers, which client-go would otherwise print past the structured log.
type warnings struct{}

// HandleWarningHeader implements rest.WarningHandler.
func (warnings) HandleWarningHeader(code int, _ string, text string) {
	slog.Warn("kubernetes API warning", "code", code, "text", text)
}
