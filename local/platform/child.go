package platform

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// readyTimeout bounds the wait for a program's readiness.
	readyTimeout = 15 * time.Second
	// stopTimeout bounds the wait for its graceful stop.
	stopTimeout = 10 * time.Second
	// maxRestartPause bounds the pause before a program that ended is started again.
	maxRestartPause = 5 * time.Second
)

// child is one of Graf's programs in a process of its own, as a container of a
// Knative Service is: if it ends by itself it is started again.
type child struct {
	name    string
	program string
	address string // host:port that it listens on
	args    []string
	env     []string
	health  string // path that answers 200 when it is ready
	logs    io.Writer
	log     *slog.Logger

	mu      sync.Mutex
	cmd     *exec.Cmd
	ended   chan struct{} // of cmd
	stopped bool
	done    chan struct{} // closed when supervise has ended
}

func (c *child) url() string { return "http://" + c.address }

// start runs the program, for the first time or after a stop, and returns when
// it is ready.
func (c *child) start(ctx context.Context) error {
	c.mu.Lock()
	c.stopped = false
	c.mu.Unlock()
	if err := c.spawn(); err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	c.done = make(chan struct{})
	go c.supervise()
	if err := c.waitReady(ctx); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", c.name, err), c.stop(context.WithoutCancel(ctx)))
	}
	return nil
}

func (c *child) spawn() error {
	cmd := exec.Command(c.program, c.args...) //nolint:noctx // stop ends it, gracefully
	cmd.Env = c.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	output, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	cmd.Stdout = cmd.Stderr
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		// The kernel sends the parent-death signal when the thread that made the
		// child ends, so that thread must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.copyLog(output)
			_ = cmd.Wait() // how it ended, supervise tells from ProcessState
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return err
	}
	c.mu.Lock()
	c.cmd, c.ended = cmd, ended
	c.mu.Unlock()
	return nil
}

// copyLog passes the program's lines on, each in one write, so that the lines
// of several programs do not mix.
func (c *child) copyLog(from io.Reader) {
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			_, _ = c.logs.Write(formatLine(c.name, line))
		}
		if err != nil {
			return
		}
	}
}

// supervise starts the program again whenever it ends without being stopped.
func (c *child) supervise() {
	defer close(c.done)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, maxRestartPause) {
		c.mu.Lock()
		ended, began := c.ended, time.Now()
		c.mu.Unlock()
		<-ended
		if c.isStopped() {
			return
		}
		c.log.Warn("program ended by itself and is started again", "program", c.name, "state", c.cmd.ProcessState.String())
		if time.Since(began) > time.Minute {
			pause = 50 * time.Millisecond
		}
		time.Sleep(pause)
		if c.isStopped() {
			return
		}
		if err := c.spawn(); err != nil {
			c.log.Error("program cannot be started again", "program", c.name, "error", err)
			return
		}
	}
}

func (c *child) isStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

func (c *child) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if c.ready(ctx) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready within %s: see its log lines above", readyTimeout)
		case <-tick.C:
		}
	}
}

func (c *child) ready(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url()+c.health, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// kill ends the program as a crash would; it is then started again.
func (c *child) kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cmd.Process.Kill()
}

// stop ends the program gracefully, or by force when it takes too long.
func (c *child) stop(ctx context.Context) error {
	c.mu.Lock()
	already := c.stopped
	c.stopped = true
	cmd, ended := c.cmd, c.ended
	c.mu.Unlock()
	if already || cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	select {
	case <-ended:
	case <-ctx.Done():
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}
	<-c.done
	return nil
}
