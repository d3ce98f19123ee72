package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
)

// reloadAge is how old the policy in force may get before the file is read again.
const reloadAge = time.Second

// Config says where the policy is.
type Config struct {
	// File is the policy, such as a key of a mounted ConfigMap, which Kubernetes changes in place. Empty means that
	// everything is denied.
	File string `env:"GRAF_POLICY_FILE"`
}

// Store has the policy in force. It reads the file anew when it is asked, at most once a second, so that nothing runs
// while nobody asks. It is safe for concurrent use.
type Store struct {
	file string
	pool *pgxpool.Pool
	log  *slog.Logger

	mutex   sync.Mutex
	read    time.Time
	text    string // what was last read from the file
	unread  bool   // whether the file could not be read then
	current *Policy
	fault   error
}

// NewStore makes a store. It reads nothing yet.
func NewStore(config Config, pool *pgxpool.Pool, log *slog.Logger) *Store {
	return &Store{file: config.File, pool: pool, log: log}
}

// Current is the policy in force. If the file is not valid, or cannot be read, that is the last one that was, kept in
// the database; fault says what is wrong with the file then. err is an unreachable database alone.
func (s *Store) Current(ctx context.Context) (p *Policy, fault, err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.current != nil && time.Since(s.read) < reloadAge {
		return s.current, s.fault, nil
	}
	if err := s.reload(ctx); err != nil {
		return nil, nil, err
	}
	s.read = time.Now()
	return s.current, s.fault, nil
}

func (s *Store) reload(ctx context.Context) error {
	if s.file == "" {
		s.current = None()
		return nil
	}
	text, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no policy at %s (GRAF_POLICY_FILE)", s.file)
	}
	if err != nil {
		s.unread = true
		return s.keep(ctx, "", err)
	}
	if s.current != nil && !s.unread && string(text) == s.text {
		return nil
	}
	s.unread = false
	parsed, err := Parse(text)
	if err != nil {
		return s.keep(ctx, string(text), err)
	}
	if err := query.New(s.pool).NotePolicy(ctx, parsed.Version, parsed.Text); err != nil {
		return fmt.Errorf("note the policy: %w", postgres.Classify(err))
	}
	if s.current != nil {
		s.log.InfoContext(ctx, "another policy is in force", "version", parsed.Version, "before", s.current.Version)
	}
	s.current, s.text, s.fault = parsed, string(text), nil
	return nil
}

// keep leaves the policy in force that is, or has the newest of the database, because of what is wrong with the file.
func (s *Store) keep(ctx context.Context, text string, fault error) error {
	if s.current == nil {
		newest, err := query.New(s.pool).GetNewestPolicy(ctx)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			s.current = None()
		case err != nil:
			return fmt.Errorf("read the policy: %w", postgres.Classify(err))
		default:
			if s.current, err = Parse([]byte(newest)); err != nil { // Of a version of Graf that read it otherwise.
				s.current, fault = None(), errors.Join(fault, err)
			}
		}
	}
	if s.fault == nil || s.text != text {
		s.log.ErrorContext(ctx, "the policy was not taken, the one before stays in force", "version", s.current.Version, "error", fault)
	}
	s.text, s.fault = text, fault
	return nil
}
