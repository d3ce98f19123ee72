package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// startTimeout bounds the wait for a server's first answer; recovery of a
	// large Postgres after a crash is the slowest case.
	startTimeout = 60 * time.Second
	// probeTimeout bounds one question whether the server answers.
	probeTimeout = 2 * time.Second
	// probeInterval is the pause between two such questions.
	probeInterval = 15 * time.Millisecond
)

// process supervises one server that runs as a child.
type process struct {
	name         string
	folder       string // its own folder, which holds its data and its log
	address      string // host:port that it listens on
	portVariable string // the setting that changes the port
	stopSignal   syscall.Signal
	// prepare makes what the server needs before its first start; may be nil.
	prepare func(ctx context.Context) error
	// command makes the command that runs it.
	command func() *exec.Cmd
	// probe asks whether it answers.
	probe func(ctx context.Context) error
	// report is told when it ended without being stopped.
	report func(error)

	mu      sync.Mutex // held throughout Start and Stop
	current *run       // nil before the first Start
	state   sync.Mutex // guards current
}

// run is one run of a process, from start to end.
type run struct {
	cmd      *exec.Cmd
	log      *childLog
	done     chan struct{} // closed when it has ended
	err      error         // how it ended; read after done
	mu       sync.Mutex
	stopping bool
}

// ErrPortTaken says that another program listens on a server's port.
var ErrPortTaken = errors.New("port taken")

// Name implements Server.
func (p *process) Name() string { return p.name }

// Start implements Server.
func (p *process) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.start(ctx); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	return nil
}

func (p *process) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if r := p.latest(); r != nil && r.alive() {
		return errors.New("it runs already")
	}
	if err := makeFolder(p.folder); err != nil {
		return err
	}
	// The server inherits the lock, so one that outlived a killed parent for a
	// moment is waited for instead of being met on its own data.
	lock, err := waitLock(ctx, filepath.Join(p.folder, "lock"))
	if err != nil {
		return fmt.Errorf("an earlier one still runs: %w", err)
	}
	defer func() { _ = lock.Close() }() // the server's own copy goes on to hold it
	if err := checkPort(p.address); err != nil {
		return fmt.Errorf("%w; stop what listens there, or choose another port with %s", err, p.portVariable)
	}
	if p.prepare != nil {
		if err := p.prepare(ctx); err != nil {
			return err
		}
	}
	r, err := p.launch(lock)
	if err != nil {
		return err
	}
	p.state.Lock()
	p.current = r
	p.state.Unlock()
	if err := p.waitReady(ctx, r); err != nil {
		return errors.Join(err, r.stop(context.WithoutCancel(ctx), p.stopSignal))
	}
	go p.watch(r)
	return nil
}

// launch starts the server's program.
func (p *process) launch(lock *os.File) (*run, error) {
	log, err := openLog(filepath.Join(p.folder, "log"))
	if err != nil {
		return nil, err
	}
	r := &run{cmd: p.command(), log: log, done: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = log.file, log.file
	r.cmd.ExtraFiles = []*os.File{lock}
	started := make(chan error, 1)
	go func() {
		// The kernel sends a child its parent-death signal when the thread
		// that made it ends, so that thread must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := startChild(r.cmd, p.stopSignal)
		started <- err
		if err == nil {
			r.err = r.cmd.Wait()
		}
		_ = log.file.Close() // everything in it was written by the child
		close(r.done)
	}()
	return r, <-started
}

// waitReady asks until the server answers, it ends, or ctx does.
func (p *process) waitReady(ctx context.Context, r *run) error {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		probeCtx, cancel := context.WithTimeout(ctx, probeTimeout)
		err := p.probe(probeCtx)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-r.done:
			return fmt.Errorf("it ended at once: %w%s", exitError(r.err), r.log.tail())
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w%s", err, r.log.tail())
		case <-tick.C:
		}
	}
}

// watch reports a run that ends by itself.
func (p *process) watch(r *run) {
	<-r.done
	if err := p.errOf(r); err != nil && p.report != nil {
		p.report(err)
	}
}

// Stop implements Server.
func (p *process) Stop(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.latest()
	if r == nil {
		return nil
	}
	if err := r.stop(ctx, p.stopSignal); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	return nil
}

// stop signals the server, and kills its process group when it takes too long.
func (r *run) stop(ctx context.Context, signal syscall.Signal) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	r.mu.Lock()
	if r.alive() {
		r.stopping = true
	}
	r.mu.Unlock()
	if err := r.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
	}
	err := syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	<-r.done
	return errors.Join(errors.New("it did not stop in time and was killed"), err)
}

// Done implements Server.
func (p *process) Done() <-chan struct{} {
	if r := p.latest(); r != nil {
		return r.done
	}
	return nil
}

// Err implements Server.
func (p *process) Err() error {
	r := p.latest()
	if r == nil || r.alive() {
		return nil
	}
	return p.errOf(r)
}

// errOf tells how the run r, which has ended, did; nil when it was stopped.
func (p *process) errOf(r *run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return nil
	}
	return fmt.Errorf("%s ended by itself: %w%s", p.name, exitError(r.err), r.log.tail())
}

func (p *process) latest() *run {
	p.state.Lock()
	defer p.state.Unlock()
	return p.current
}

func (r *run) alive() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// exitError makes an error of a wait's result, of which nil means status 0.
func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}
