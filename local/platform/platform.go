// Package platform puts Graf together on one machine: the servers it stands on,
// what stands in for Kubernetes, Knative's Broker and sources, the six functions
// each in a process of its own, and a gateway that gives them one base URL. The
// functions are configured as on a cluster and cannot tell the difference.
package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/graf-run/graf/local/broker"
	"github.com/graf-run/graf/local/gateway"
	"github.com/graf-run/graf/local/kubernetes"
	"github.com/graf-run/graf/local/services"
	"github.com/graf-run/graf/local/source"
	"github.com/graf-run/graf/migrations"
	"github.com/graf-run/graf/shared/artifact"
)

// Namespace is where everything of Graf is on a cluster, and so here.
const Namespace = "graf"

// bucket holds artifacts.
const bucket = "graf"

// functionNames are the functions, in the order of the flow.
var functionNames = []string{"submit", "callback", "memory", "embed", "launch", "finalize"}

// Platform is a running platform.
type Platform struct {
	config Config
	log    *slog.Logger
	began  time.Time

	services  *services.Set
	broker    *broker.Broker
	cluster   *kubernetes.Cluster
	ticks     *source.Ping
	model     *child // nil where OpenAI's, or another server's, is used
	functions map[string]*child
	token     string

	// Both are listened on from the beginning, see takePorts.
	gateway, ingress net.Listener

	stops []step
}

// step is one part of the platform and how to stop it.
type step struct {
	name string
	stop func(context.Context) error
}

// Start starts the platform and returns when all of it is ready. If a part does
// not start, those before it are stopped.
func Start(ctx context.Context, config Config) (*Platform, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	p := &Platform{
		config: config, began: time.Now(), functions: map[string]*child{},
		log: slog.New(slog.NewJSONHandler(&prefixWriter{name: "platform", to: config.Log}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, part := range []struct {
		name  string
		start func(context.Context) error
	}{
		{"ports", p.takePorts},
		{"Postgres, Redis and object storage", p.startServices},
		{"database schema and bucket", p.migrate},
		{"embedding model", p.startModel},
		{"Broker, Triggers and sources", p.startEventing},
		{"policy", p.startPolicy},
		{"functions", p.startFunctions},
		{"gateway", p.startGateway},
	} {
		began := time.Now()
		if err := part.start(ctx); err != nil {
			return nil, errors.Join(err, p.Stop(context.WithoutCancel(ctx)))
		}
		if config.Progress != nil {
			config.Progress(part.name, time.Since(began))
		}
	}
	return p, nil
}

// Stop stops all that Start started, the last first.
func (p *Platform) Stop(ctx context.Context) error {
	var errs []error
	for i := len(p.stops) - 1; i >= 0; i-- {
		if err := p.stops[i].stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", p.stops[i].name, err))
		}
	}
	p.stops = nil
	return errors.Join(errs...)
}

func (p *Platform) onStop(name string, stop func(context.Context) error) {
	p.stops = append(p.stops, step{name, stop})
}

// Failed delivers the error of a server that ended by itself.
func (p *Platform) Failed() <-chan error { return p.services.Failed() }

// takePorts takes the ports that users know, before anything is started: a
// taken one is the likeliest reason for a start to fail.
func (p *Platform) takePorts(context.Context) error {
	var err error
	if p.gateway, err = listen(p.config.Port, "GRAF_PORT"); err != nil {
		return err
	}
	p.onStop("gateway port", closeOnce(p.gateway))
	if p.ingress, err = listen(p.config.BrokerPort, "GRAF_BROKER_PORT"); err != nil {
		return err
	}
	p.onStop("Broker port", closeOnce(p.ingress))
	return nil
}

// closeOnce closes a listener that its server may have closed already.
func closeOnce(listener net.Listener) func(context.Context) error {
	return func(context.Context) error {
		if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

func (p *Platform) startServices(ctx context.Context) error {
	set, err := services.New(p.config.Services, p.log)
	if err != nil {
		return err
	}
	p.services = set
	p.onStop("servers", set.Stop)
	return set.Start(ctx)
}

func (p *Platform) migrate(ctx context.Context) error {
	connection := p.services.Connection()
	if _, err := migrations.Up(ctx, connection.DatabaseURL); err != nil {
		return err
	}
	store, err := artifact.New(artifact.Config{
		Endpoint: connection.S3.Endpoint, Bucket: bucket, Region: connection.S3.Region,
		AccessKeyID: connection.S3.AccessKeyID, SecretAccessKey: connection.S3.SecretAccessKey,
		MaxBytes: 1 << 30, UploadExpiry: time.Minute, DownloadExpiry: time.Minute,
	})
	if err != nil {
		return err
	}
	return store.EnsureBucket(ctx)
}

func (p *Platform) startModel(ctx context.Context) error {
	if p.config.OpenAIKey != "" || p.config.OpenAIBaseURL != "" {
		return nil
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	p.model = p.child("embeddings", "graf-embeddings", address, []string{"--listen", address}, os.Environ(), "/v1/models")
	p.onStop("embedding model", p.model.stop)
	return p.model.start(ctx)
}

func (p *Platform) startFunctions(ctx context.Context) error {
	var err error
	if p.token, err = keptToken(p.config.folder("token")); err != nil {
		return err
	}
	var group sync.WaitGroup
	names := p.config.programNames()
	errs := make([]error, len(names))
	for i, name := range names {
		function := p.functions[name]
		function.env = p.functionEnvironment(function.address)
		p.onStop(name, function.stop)
		group.Go(func() { errs[i] = function.start(ctx) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// placeFunctions gives each function its address, which the Broker must know
// before the functions start.
func (p *Platform) placeFunctions() error {
	for _, name := range p.config.programNames() {
		address, err := freeAddress()
		if err != nil {
			return err
		}
		p.functions[name] = p.child(name, name, address, nil, nil, "/health/readiness")
	}
	return nil
}

func (p *Platform) child(name, program, address string, args, env []string, health string) *child {
	return &child{
		name: name, program: filepath.Join(p.config.Programs, program), address: address,
		args: args, env: env, health: health, logs: p.config.Log, log: p.log,
	}
}

func (p *Platform) startGateway(context.Context) error {
	handler, err := gateway.New(gateway.Functions{
		Submit: p.functions["submit"].url(), Callback: p.functions["callback"].url(), Memory: p.functions["memory"].url(),
	}, p.log)
	if err != nil {
		return err
	}
	p.serve("gateway", p.gateway, handler)
	return p.writeEnvironment()
}

// serve serves until the platform stops.
func (p *Platform) serve(name string, listener net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Shutdown
	p.onStop(name, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			return server.Close() // live streams would go on for ever
		}
		return nil
	})
}

// listen takes a port of the loopback interface; variable is the setting that changes it.
func listen(port int, variable string) (net.Listener, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(port))) //nolint:noctx // does not wait
	if err != nil {
		return nil, fmt.Errorf("%w; stop what listens there, or choose another port with %s", err, variable)
	}
	return listener, nil
}

// freeAddress is an address of the loopback interface that no other process is given.
func freeAddress() (string, error) {
	port, err := services.FreePort()
	if err != nil {
		return "", err
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(port)), nil
}
