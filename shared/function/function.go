// Package function is the frame of a Graf function: what func-go's runtime
// calls, once for all six. A function's own code is a Start that turns the
// environment into an http.Handler.
package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	runtime "knative.dev/func-go/http"

	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/telemetry"
)

// StartFunc opens what a function needs and makes its handler. It must not wait
// for servers: a function is ready when it is configured, and answers 503 while
// a server that it needs is away. What it opens it hands to scope.OnStop.
type StartFunc func(ctx context.Context, scope *Scope) (http.Handler, error)

// Scope is what a StartFunc starts within.
type Scope struct {
	environment map[string]string
	stops       []func(context.Context) error
}

// OnStop has stop called when the function stops, the last one first.
func (s *Scope) OnStop(stop func(context.Context) error) { s.stops = append(s.stops, stop) }

// Close is OnStop for what closes without a context or an error.
func (s *Scope) Close(closer func()) {
	s.OnStop(func(context.Context) error { closer(); return nil })
}

func (s *Scope) stop(ctx context.Context) error {
	var errs []error
	for _, stop := range slices.Backward(s.stops) {
		errs = append(errs, stop(ctx))
	}
	s.stops = nil
	return errors.Join(errs...)
}

// Instance is one running function. It has the methods that func-go's HTTP
// runtime looks for.
type Instance struct {
	name    string
	start   StartFunc
	handler atomic.Pointer[http.Handler]

	mu    sync.Mutex // Start and Stop take turns: the runtime may stop what still starts
	scope Scope
}

// New makes an instance; it does no I/O. name is the function's, for logs and traces.
func New(name string, start StartFunc) *Instance {
	// func-go logs each readiness probe at its default level.
	runtime.SetLogLevel(runtime.LogWarn)
	return &Instance{name: name, start: start}
}

// Start configures the function. The runtime calls it in a goroutine of its
// own, so requests may come before it is done: see Ready and Handle.
func (i *Instance) Start(ctx context.Context, environment map[string]string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	shutdown, err := telemetry.Setup(ctx, "graf-"+i.name)
	if err != nil {
		return fmt.Errorf("start %s: %w", i.name, err)
	}
	i.scope = Scope{environment: environment}
	i.scope.OnStop(shutdown)
	handler, err := i.start(ctx, &i.scope)
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", i.name, err), i.scope.stop(ctx))
	}
	i.handler.Store(&handler)
	return nil
}

// Ready reports whether Start is done.
func (i *Instance) Ready(context.Context) (bool, error) {
	return i.handler.Load() != nil, nil
}

// Handle serves a request.
func (i *Instance) Handle(w http.ResponseWriter, r *http.Request) {
	handler := i.handler.Load()
	if handler == nil {
		problem.Write(w, r, problem.ErrUnavailable.With("The function is starting; try again in a moment."))
		return
	}
	(*handler).ServeHTTP(w, r)
}

// Stop closes what Start opened. The runtime calls it when no request is under way.
func (i *Instance) Stop(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.scope.stop(ctx)
}
