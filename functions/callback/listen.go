package callback

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/problem"
)

// Bounds on the connection that listens.
const (
	connectTimeout = 5 * time.Second
	reconnectWait  = time.Second
)

// Listener wakes those who follow a task when it has new events or has ended. It
// has one connection for all of them, from the first follower to the last: with nobody
// there, nothing runs.
type Listener struct {
	config *pgx.ConnConfig
	max    int
	log    *slog.Logger
	closed chan struct{}
	wg     sync.WaitGroup

	mu        sync.Mutex
	followers map[uuid.UUID]map[*Follower]struct{}
	count     int
	stop      context.CancelFunc // of the connection, while there are followers
}

// NewListener makes a listener for so many followers at the most; it does no I/O.
func NewListener(config *pgx.ConnConfig, most int, log *slog.Logger) *Listener {
	return &Listener{
		config: config, max: most, log: log, closed: make(chan struct{}),
		followers: map[uuid.UUID]map[*Follower]struct{}{},
	}
}

// Follower follows one task.
type Follower struct {
	listener *Listener
	task     uuid.UUID
	// Woken gets a value when the task may have new events.
	Woken chan struct{}
}

// Follow adds a follower of the task; the caller ends it with Leave. It fails
// with problem.ErrUnavailable if there are too many, or after Shutdown.
func (l *Listener) Follow(task uuid.UUID) (*Follower, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed() {
		return nil, problem.ErrUnavailable.With("The function is stopping; connect again.").RetryAfter(time.Second)
	}
	if l.count == l.max {
		return nil, problem.ErrUnavailable.With("%d event streams are open, which is the most; read pages, or try again later.", l.max)
	}
	f := &Follower{listener: l, task: task, Woken: make(chan struct{}, 1)}
	if l.followers[task] == nil {
		l.followers[task] = map[*Follower]struct{}{}
	}
	l.followers[task][f] = struct{}{}
	if l.count++; l.count == 1 {
		ctx, cancel := context.WithCancel(context.Background())
		l.stop = cancel
		l.wg.Go(func() { l.listen(ctx) })
	}
	return f, nil
}

// Leave ends the following.
func (f *Follower) Leave() {
	l := f.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.followers[f.task], f)
	if len(l.followers[f.task]) == 0 {
		delete(l.followers, f.task)
	}
	if l.count--; l.count == 0 {
		l.stop()
	}
}

// Closed is closed when the followers are to leave.
func (l *Listener) Closed() <-chan struct{} { return l.closed }

func (l *Listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// Shutdown asks the followers to leave and lets no other in.
func (l *Listener) Shutdown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isClosed() {
		close(l.closed)
	}
}

// Close is Shutdown, and waits until the connection is closed, which it is once
// every follower has left.
func (l *Listener) Close() {
	l.Shutdown()
	l.wg.Wait()
}

// listen keeps a connection until ctx ends.
func (l *Listener) listen(ctx context.Context) {
	for {
		err := l.receive(ctx)
		if ctx.Err() != nil {
			return
		}
		l.log.WarnContext(ctx, "listening for events was cut off; event streams poll meanwhile", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(reconnectWait):
		}
	}
}

func (l *Listener) receive(ctx context.Context) error {
	connecting, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, l.config.Copy())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		_ = conn.Close(closing) // There is nothing left on it to lose.
	}()
	if _, err := conn.Exec(connecting, "LISTEN "+postgres.TaskChannel); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	l.wakeAll() // Nobody was told of what came before.
	for {
		notification, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		if task, err := uuid.Parse(notification.Payload); err == nil {
			l.wake(task)
		}
	}
}

func (l *Listener) wake(task uuid.UUID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.followers[task] {
		f.wake()
	}
}

func (l *Listener) wakeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, followers := range l.followers {
		for f := range followers {
			f.wake()
		}
	}
}

// wake never waits: who has not looked since the last time looks once for both.
func (f *Follower) wake() {
	select {
	case f.Woken <- struct{}{}:
	default:
	}
}
