package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/local/platform"
	"github.com/graf-run/graf/local/services"
)

// stopTimeout bounds the stopping of the platform.
const stopTimeout = 45 * time.Second

// unlimited takes off the bounds that protect a real installation: it is the
// speed of the machinery that is measured.
var unlimited = []string{
	"GRAF_RATE_LIMIT_PER_SECOND=0", "GRAF_SLOTS_GLOBAL=0", "GRAF_SLOTS_PER_NAMESPACE=0", "GRAF_SLOTS_PER_CALLER=0",
}

// environment is what one benchmark runs in.
type environment struct {
	options  options
	report   *report
	platform *platform.Platform
	database *pgxpool.Pool
	folder   string
	closers  []func() error
}

// start starts a platform in a new folder.
func start(ctx context.Context, o options, r *report, settings []string) (_ *environment, err error) {
	e := &environment{options: o, report: r}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.stop(ctx))
		}
	}()
	if e.folder, err = os.MkdirTemp("", "graf-bench-"); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, func() error { return os.RemoveAll(e.folder) })
	if err := os.Chmod(e.folder, 0o711); err != nil { //nolint:gosec // Postgres's account passes through it
		return nil, err
	}
	config, err := e.config(settings)
	if err != nil {
		return nil, err
	}
	if e.platform, err = platform.Start(ctx, config); err != nil {
		return nil, err
	}
	if e.database, err = pgxpool.New(ctx, e.variable("GRAF_DATABASE_URL")); err != nil {
		return nil, err
	}
	return e, e.startProfile()
}

func (e *environment) config(settings []string) (platform.Config, error) {
	log, err := os.Create(filepath.Join(e.folder, "log"))
	if err != nil {
		return platform.Config{}, err
	}
	e.closers = append(e.closers, log.Close)
	var ports [3]int
	for i := range ports {
		if ports[i], err = services.FreePort(); err != nil {
			return platform.Config{}, err
		}
	}
	return platform.Config{
		Services: services.Config{
			DataFolder: filepath.Join(e.folder, "data"), Dependencies: services.Local,
			PostgresPort: ports[0], RedisPort: ports[1], S3Port: ports[2],
		},
		Programs: e.options.programs, Settings: append(slices.Clip(unlimited), settings...), Tick: 5 * time.Second, Log: log,
	}, nil
}

// stop stops everything and removes the folder.
func (e *environment) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	var errs []error
	if e.database != nil {
		e.database.Close()
	}
	if e.platform != nil {
		errs = append(errs, e.platform.Stop(ctx))
	}
	for i := len(e.closers) - 1; i >= 0; i-- {
		errs = append(errs, e.closers[i]())
	}
	return errors.Join(errs...)
}

func (e *environment) startProfile() error {
	if e.options.profile == "" {
		return nil
	}
	file, err := os.Create(e.options.profile)
	if err != nil {
		return err
	}
	e.closers = append(e.closers, func() error { pprof.StopCPUProfile(); return file.Close() })
	return pprof.StartCPUProfile(file)
}

// variable reads one of the variables that the platform writes for shells.
func (e *environment) variable(name string) string {
	text, err := os.ReadFile(e.platform.EnvironmentFile())
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "export "+name+"="); ok {
			return strings.Trim(value, "'")
		}
	}
	return ""
}

// functionURL is where a function listens, without the gateway.
func (e *environment) functionURL(name string) string {
	for _, endpoint := range e.platform.Endpoints() {
		if endpoint.Name == "function "+name {
			return endpoint.Address
		}
	}
	return ""
}

// waitFor asks until done says so.
func waitFor(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
