package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errNotStarted wraps why a program could not be started.
var errNotStarted = errors.New("cannot start the program")

const (
	// shutdownGrace bounds the time between SIGTERM and SIGKILL when the platform itself stops.
	shutdownGrace = 5 * time.Second
	// drainTimeout bounds the wait for output of a process that left the group and still holds the pipe.
	drainTimeout = time.Second
)

// command is a process to run.
type command struct {
	program     string // its path
	arguments   []string
	environment []string
	directory   string
	marks       []string // begin paths in the environment of the process and of all that it starts
	grace       time.Duration
	output      io.Writer // of both streams
}

// exitStatus is how a process ended: code is 128 plus the signal's number when a signal ended it.
type exitStatus struct{ code, signal int32 }

// spawner starts processes from one operating system thread that lives as long as it does. The kernel's parent death
// signal, which ends a process when the platform dies, goes by the thread that started it: from any other thread it
// could come while the platform is well.
type spawner struct {
	requests chan spawnRequest
	done     chan struct{}
}

type spawnRequest struct {
	cmd   *exec.Cmd
	reply chan error
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawnRequest), done: make(chan struct{})}
	go s.serve()
	return s
}

func (s *spawner) serve() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(s.done)
	for request := range s.requests {
		request.reply <- request.cmd.Start()
	}
}

// close must come after the last process has ended.
func (s *spawner) close() {
	close(s.requests)
	<-s.done
}

func (s *spawner) start(cmd *exec.Cmd) error {
	request := spawnRequest{cmd, make(chan error, 1)}
	s.requests <- request
	return <-request.reply
}

// run starts a process in a group of its own, and waits for its end. When ctx ends first, the process gets SIGTERM and
// its grace period. As in a container, the end of the process is the end of all that it started: the group gets SIGKILL.
func (s *spawner) run(ctx context.Context, c command) (exitStatus, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return exitStatus{}, fmt.Errorf("%w: %w", errNotStarted, err)
	}
	defer func() { _ = reader.Close() }()
	cmd := &exec.Cmd{
		Path: c.program, Args: c.arguments, Env: c.environment, Dir: c.directory, Stdout: writer, Stderr: writer,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	err = s.start(cmd)
	_ = writer.Close()
	if err != nil {
		return exitStatus{}, fmt.Errorf("%w: %w", errNotStarted, err)
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(c.output, reader)
	}()
	cause := supervise(ctx, cmd.Process.Pid, c)
	_ = cmd.Wait() // its error says again what ProcessState says
	awaitDrained(reader, drained)
	return exitOf(cmd.ProcessState), cause
}

// supervise waits for the end of a process and ends it when ctx does. The process is not reaped yet when its group is
// killed: until then, no other process can get its number.
func supervise(ctx context.Context, pid int, c command) (cause error) {
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		awaitExit(pid)
	}()
	select {
	case <-exited:
	case <-ctx.Done():
		cause = context.Cause(ctx)
		_ = syscall.Kill(pid, syscall.SIGTERM)
		timer := time.NewTimer(graceFor(cause, c.grace))
		defer timer.Stop()
		select {
		case <-exited:
		case <-timer.C:
		}
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	<-exited
	if cause != nil {
		killStrays(c.marks...)
	}
	return cause
}

func graceFor(cause error, grace time.Duration) time.Duration {
	if errors.Is(cause, errPlatformStopped) {
		return min(grace, shutdownGrace)
	}
	return grace
}

// awaitExit waits until a child has ended and leaves it to be reaped.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func awaitDrained(reader *os.File, drained <-chan struct{}) {
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
		_ = reader.SetReadDeadline(time.Unix(1, 0))
		<-drained
	}
}

func exitOf(state *os.ProcessState) exitStatus {
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		signal := int32(status.Signal()) //nolint:gosec // at most 127
		return exitStatus{code: 128 + signal, signal: signal}
	}
	return exitStatus{code: int32(state.ExitCode())} //nolint:gosec // at most 255
}
