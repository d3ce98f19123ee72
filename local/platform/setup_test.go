package platform

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/local/services"
	"github.com/graf-run/graf/shared/api"
)

const (
	// patience bounds every wait. A test never expects something to be quick.
	patience = 90 * time.Second
	// glance is the pause between two looks at something that is waited for.
	glance = 25 * time.Millisecond
)

// platforms bounds how many run at once, each being a dozen processes.
var platforms = make(chan struct{}, 2)

// system is a platform under test.
type system struct {
	*Platform
	config Config
	// mode is what submissions are run by, unless they say.
	mode api.OrchestrationMode
	log  *logBuffer
	pool *pgxpool.Pool
	// events are all that the Broker took.
	events *recorder
	// notes is a folder for what agents leave behind: their prompts and tokens.
	notes string

	mu     sync.Mutex
	tokens []string
}

// quick are settings under which what is due comes soon.
var quick = []string{
	"GRAF_STALE_AFTER=2s", "GRAF_DEADLINE_GRACE=2s", "GRAF_EXECUTION_GRACE_PERIOD=1s", "GRAF_SLOTS_LAUNCH_LEASE=5s",
	"GRAF_RETRY_BASE=100ms", "GRAF_RETRY_MAX=1s",
	"GRAF_LAUNCH_RETRY_BASE=100ms", "GRAF_LAUNCH_RETRY_MAX=1s",
	"GRAF_EMBEDDING_RETRY_BASE=200ms", "GRAF_EMBEDDING_RETRY_MAX=1s",
	"GRAF_STREAM_POLL=200ms", "GRAF_RATE_LIMIT_PER_SECOND=2000", "GRAF_RATE_LIMIT_BURST=4000",
}

// startSystem starts a platform with servers of its own, which at the test's end
// is searched for tokens in clear and stopped. settings are the functions'.
func startSystem(t *testing.T, settings ...string) *system {
	t.Helper()
	return startConfigured(t, services.Config{DataFolder: dataFolder(t), Dependencies: services.Local, Ephemeral: true}, settings...)
}

func startConfigured(t *testing.T, servers services.Config, settings ...string) *system {
	t.Helper()
	return startWith(t, Config{Services: servers}, settings...)
}

func startWith(t *testing.T, config Config, settings ...string) *system {
	t.Helper()
	platforms <- struct{}{}
	t.Cleanup(func() { <-platforms })
	s := &system{log: &logBuffer{}, notes: t.TempDir(), events: newRecorder(t), config: config}
	s.config.Programs, s.config.Log = programs, s.log
	s.config.Tick = cmp.Or(config.Tick, 200*time.Millisecond)
	s.config.Settings = append(append([]string{}, quick...), settings...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the platform's log:\n%s", s.log.tail(200))
		}
	})
	s.start(t)
	t.Cleanup(func() {
		if !t.Failed() {
			s.checkSecrets(t)
		}
		s.stop(t)
	})
	return s
}

func (s *system) start(t *testing.T) {
	t.Helper()
	p, err := Start(within(t), s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.Platform = p
	if s.pool, err = pgxpool.New(within(t), p.services.Connection().DatabaseURL); err != nil {
		t.Fatal(err)
	}
	if err := p.broker.AddTrigger(s.events.trigger()); err != nil {
		t.Fatal(err)
	}
	s.keepSecret(p.Token())
}

func (s *system) stop(t *testing.T) {
	t.Helper()
	s.pool.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// keepSecret notes a token that must nowhere be found in clear.
func (s *system) keepSecret(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = append(s.tokens, token)
}

// note is the path of a file that agents of this platform write or wait for.
func (s *system) note(name string) string { return filepath.Join(s.notes, name) }

// dataFolder is a temporary folder that other users can pass, as Postgres needs
// where root may make no user namespace.
func dataFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Chmod(filepath.Dir(folder), 0o711); err != nil {
		t.Fatal(err)
	}
	return folder
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually looks again and again until ok, and fails the test with what it
// waited for when patience runs out.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
	}
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logBuffer keeps the platform's log.
type logBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write implements io.Writer.
func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(line)
}

func (b *logBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.all.Bytes())
}

func (b *logBuffer) tail(lines int) []byte {
	all := bytes.SplitAfter(b.bytes(), []byte("\n"))
	return bytes.Join(all[max(0, len(all)-lines):], nil)
}
