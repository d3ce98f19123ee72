// Package services runs the third-party servers that Graf stands on, for one
// machine: Postgres with pgvector, Redis and an S3 server (versitygw). Each
// listens on a port of its own, on loopback unless told otherwise, and keeps its
// data, its password and its log in one private folder, so that no server that
// runs already is touched. Beside them it can serve the offline embedding model
// and, for tests, a Kubernetes API server. Where a server exists already, or
// Docker Compose is to run them, nothing is started here and the same Set answers
// for them.
package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Server is one supervised server. Its methods may be called from several
// goroutines.
type Server interface {
	// Name is what people call it: "Postgres".
	Name() string
	// Start starts it and returns when it answers, or with the end of its log
	// when it does not. Starting one that runs is an error.
	Start(ctx context.Context) error
	// Stop ends it gracefully, or by force when ctx ends first. It may be
	// started again, on the same port and data. Stopping a stopped one does
	// nothing.
	Stop(ctx context.Context) error
	// Done is closed when the server started last has ended. It is nil, and
	// so blocks for ever, for a server that is not a child of this process.
	Done() <-chan struct{}
	// Err tells how a server that Done reports ended; nil after Stop.
	Err() error
}

// stopTimeout bounds a graceful stop when the caller's context does not.
const stopTimeout = 15 * time.Second

// Set is the servers together.
type Set struct {
	Postgres, Redis, S3 Server
	// Embeddings is nil unless Config.Embeddings names its program.
	Embeddings Server
	// Etcd and Kubernetes, the API server, are nil unless Config.Kubernetes names
	// their program.
	Etcd, Kubernetes Server

	connection Connection
	folder     string
	ephemeral  bool
	lock       *os.File
	failed     chan error
	compose    *project // nil unless Docker Compose runs the servers

	embeddingsURL, kubeconfig string
}

// New prepares the servers that config describes, making their folders and
// passwords, and starts none. A folder that another process serves from is
// ErrFolderInUse.
func New(config Config, logger *slog.Logger) (_ *Set, err error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	s := &Set{ephemeral: config.Ephemeral, failed: make(chan error, 4)}
	if s.folder, s.lock, err = openFolder(config); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	report := func(err error) {
		logger.Error("server ended by itself", "error", err)
		select {
		case s.failed <- err:
		default: // nobody reads, and one is enough to tell
		}
	}
	if config.Dependencies == Compose {
		err = s.addCompose(config)
	} else {
		err = s.addLocal(config, report)
	}
	if err == nil && config.Embeddings != "" {
		err = s.addEmbeddings(config, report)
	}
	if err == nil && config.Kubernetes != "" {
		err = s.addKubernetes(config, report)
	}
	if err != nil {
		return nil, err
	}
	s.preferExisting(config.Existing)
	return s, nil
}

// Start starts the servers side by side and returns when all answer; when one
// does not, it stops the others.
func (s *Set) Start(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	for _, server := range s.servers() {
		group.Go(func() error { return server.Start(groupCtx) })
	}
	if err := group.Wait(); err != nil {
		return errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return nil
}

// Stop stops the servers side by side, gives the data folder free and, for an
// ephemeral set, removes it. The set cannot be started again.
func (s *Set) Stop(ctx context.Context) error {
	servers := s.servers()
	errs := make([]error, len(servers))
	var group sync.WaitGroup
	for i, server := range servers {
		group.Go(func() { errs[i] = server.Stop(ctx) })
	}
	group.Wait()
	err := errors.Join(errs...)
	if s.compose != nil {
		err = errors.Join(err, s.compose.remove(ctx))
	}
	return errors.Join(err, s.release())
}

// Failed delivers the error of each server that ended without being stopped.
func (s *Set) Failed() <-chan error { return s.failed }

// Connection tells how the servers are reached.
func (s *Set) Connection() Connection { return s.connection }

// Folder is where the servers keep their data and logs.
func (s *Set) Folder() string { return s.folder }

func (s *Set) servers() []Server {
	servers := []Server{s.Postgres, s.Redis, s.S3}
	if s.Embeddings != nil {
		servers = append(servers, s.Embeddings)
	}
	if s.Kubernetes != nil {
		servers = append(servers, s.Etcd, s.Kubernetes)
	}
	return servers
}

// release is called again by whoever stops a set that did not start.
func (s *Set) release() error {
	if s.lock == nil {
		return nil
	}
	var err error
	if s.ephemeral {
		err = os.RemoveAll(s.folder)
	}
	err = errors.Join(err, unlock(s.lock))
	s.lock = nil
	return err
}

// ErrFolderInUse says that another process runs servers from the data folder.
var ErrFolderInUse = errors.New("the data folder is in use")

// openFolder makes and locks the folder that the servers live in: the data
// folder itself, or for an ephemeral set a new one within it.
func openFolder(config Config) (string, *os.File, error) {
	folder, err := filepath.Abs(config.DataFolder)
	if err != nil {
		return "", nil, fmt.Errorf("locate the data folder: %w", err)
	}
	if config.Ephemeral {
		parent := filepath.Join(folder, "ephemeral")
		if err := makeFolder(parent); err != nil {
			return "", nil, err
		}
		removeAbandoned(parent)
		if folder, err = os.MkdirTemp(parent, "services-"); err != nil {
			return "", nil, fmt.Errorf("make the data folder: %w", err)
		}
		// As makeFolder does.
		if err := errors.Join(os.Chmod(folder, 0o711), inheritOwner(folder)); err != nil { //nolint:gosec // others may pass
			return "", nil, fmt.Errorf("prepare the data folder: %w", err)
		}
	} else if err := makeFolder(folder); err != nil {
		return "", nil, err
	}
	lock, err := tryLock(filepath.Join(folder, "services.lock"))
	if errors.Is(err, errLocked) {
		return "", nil, fmt.Errorf("%w: another graf-local runs on %s; stop it, or choose another folder with --data", ErrFolderInUse, folder)
	}
	return folder, lock, err
}

// removeAbandoned removes the ephemeral folders whose process was killed
// before it could.
func removeAbandoned(parent string) {
	folders, _ := filepath.Glob(filepath.Join(parent, "services-*")) // the pattern is well formed
	for _, folder := range folders {
		// One without a lock file is being made by another process just now.
		if _, err := os.Stat(filepath.Join(folder, "services.lock")); err != nil {
			continue
		}
		lock, err := tryLock(filepath.Join(folder, "services.lock"))
		if err != nil {
			continue
		}
		_ = os.RemoveAll(folder) // the next start tries again
		_ = unlock(lock)         // likewise
	}
}
