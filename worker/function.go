// Package worker is Graf's Temporal worker: it runs the tasks whose
// orchestration mode is temporal. It starts and signals workflows when the
// Broker's events ask for that, and takes workflow and activity tasks from
// Temporal. What an attempt's steps do is launch's and finalize's own code; a
// workflow only has them done in order, through crashes of anything else.
package worker

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"
	temporal "go.temporal.io/sdk/worker"

	"github.com/graf-run/graf/functions/finalize"
	"github.com/graf-run/graf/functions/launch"
	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/function"
)

const (
	// stopTimeout is how long steps under way may take when the worker stops;
	// Temporal has another worker take up those that take longer.
	stopTimeout = 10 * time.Second
	// maxReconnectPause bounds the pause before Temporal is tried again.
	maxReconnectPause = 30 * time.Second
)

// Worker receives events and takes tasks from Temporal.
type Worker struct {
	pool       *pgxpool.Pool
	client     client.Client
	config     TemporalConfig
	activities *Activities
	log        *slog.Logger
}

// New makes the worker for func-go's runtime.
func New() *function.Instance { return function.New("worker", start) }

func start(ctx context.Context, scope *function.Scope) (http.Handler, error) {
	var c Config
	if err := scope.Configure(&c); err != nil {
		return nil, err
	}
	w, err := open(ctx, scope, c)
	if err != nil {
		return nil, err
	}
	w.run(scope) //nolint:contextcheck // polls for as long as the worker is not stopped
	return delivery.NewReceiver(w.handlers()), nil
}

func open(ctx context.Context, scope *function.Scope, c Config) (*Worker, error) {
	launcher, err := launch.Open(ctx, scope, c.Launch)
	if err != nil {
		return nil, err
	}
	finalizer, err := finalize.Open(ctx, scope, c.Finalize)
	if err != nil {
		return nil, err
	}
	pool, err := scope.OpenPostgres(ctx, c.Launch.Postgres)
	if err != nil {
		return nil, err
	}
	options, err := c.Temporal.options()
	if err != nil {
		return nil, err
	}
	// Lazy: it connects when it is first used, for the worker waits for no server.
	temporalClient, err := client.NewLazyClient(options)
	if err != nil {
		return nil, fmt.Errorf("make the client of Temporal: %w", err)
	}
	scope.Close(temporalClient.Close)
	return &Worker{
		pool: pool, client: temporalClient, config: c.Temporal, log: slog.Default(),
		activities: &Activities{pool: pool, launcher: launcher, finalizer: finalizer, grace: c.Finalize.Grace},
	}, nil
}

// run takes tasks from Temporal until the scope stops, and begins anew whenever
// Temporal is away or refuses.
func (w *Worker) run(scope *function.Scope) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause := time.Second; ctx.Err() == nil; pause = min(2*pause, maxReconnectPause) {
			if err := w.poll(ctx); err != nil {
				w.log.ErrorContext(ctx, "no tasks are taken from Temporal", "error", err, "again", pause)
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}()
	scope.OnStop(func(ctx context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("stop the Temporal worker: %w", context.Cause(ctx))
		}
	})
}

// poll takes tasks until ctx ends, or returns why that is not possible.
func (w *Worker) poll(ctx context.Context) error {
	fatal := make(chan error, 1)
	worker := temporal.New(w.client, w.config.TaskQueue, temporal.Options{
		WorkerStopTimeout: stopTimeout,
		OnFatalError:      func(err error) { fatal <- err },
	})
	worker.RegisterWorkflow(CodexTaskWorkflow)
	worker.RegisterActivity(w.activities)
	if err := worker.Start(); err != nil {
		return fmt.Errorf("start: %w", withMend(err))
	}
	defer worker.Stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-fatal:
		return withMend(err)
	}
}
