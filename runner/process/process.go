// Package process runs an agent with all that it starts: as a group that is told to
// end, and after some time of grace made to. What leaves the group, as daemons do,
// comes back to this process as the subreaper and ends as well. Where this process is
// the first of a container all others are the agent's, and none gets away; elsewhere
// what forks as fast as it is killed may, which is told.
//
// See prctl(2), PR_SET_CHILD_SUBREAPER, and kill(2) for groups.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrStart says that the program could not be started.
var ErrStart = errors.New("the agent could not be started")

// reapEvery is how often orphans that have ended are taken from the process table.
const reapEvery = 5 * time.Second

// pipesStay is how long the output of what outlived the program is read.
const pipesStay = 2 * time.Second

// Command is a program to run.
type Command struct {
	// Args are the program and its arguments.
	Args   []string
	Folder string
	// Env is the whole environment, NAME=value.
	Env []string
	// Input is the program's standard input; nil is an empty one.
	Input          io.Reader
	Output, Errors io.Writer
	// Grace is the time between SIGTERM and SIGKILL.
	Grace time.Duration
}

// End is how a program ended.
type End struct {
	// Code is its exit code, as a shell has it: 128 and the signal's number for one
	// that was killed.
	Code   int
	Signal syscall.Signal
	// Stopped is why it was told to end, nil if it ended by itself.
	Stopped error
	// Killed says that it did not end within the grace.
	Killed bool
	// Left says that something it started could not be ended.
	Left bool
}

// Adopt makes this process the one that orphans of its descendants come to.
func Adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the subreaper: %w", err)
	}
	return nil
}

// Run runs a program until it ends, and all that it started with it. When the
// context is done it is told to end by SIGTERM, and killed after its grace; the
// context's cause is then the End's Stopped. It fails with ErrStart. Every child of
// this process but the program counts as an orphan: no other may run meanwhile.
func Run(ctx context.Context, c Command) (End, error) {
	cmd := exec.Command(c.Args[0], c.Args[1:]...) //nolint:noctx // what the task is; stopped below
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Folder, c.Env, c.Input, c.Output, c.Errors
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = pipesStay
	if err := cmd.Start(); err != nil {
		return End{}, fmt.Errorf("%w: %w", ErrStart, err)
	}
	ended := make(chan struct{})
	var end End
	var watch sync.WaitGroup
	rest := &ending{group: cmd.Process.Pid, first: os.Getpid() == 1, grace: c.Grace, told: map[int]bool{}, send: syscall.Kill}
	watch.Go(func() { end.Stopped, end.Killed = rest.stop(ctx, cmd.Process, ended) })
	watch.Go(func() { reap(cmd.Process.Pid, ended) })
	err := cmd.Wait()
	close(ended)
	watch.Wait()
	end.Left = !rest.killRest()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		return end, fmt.Errorf("wait for the agent: %w", err)
	}
	if end.Code = status.ExitStatus(); status.Signaled() {
		end.Signal = status.Signal()
		end.Code = 128 + int(end.Signal)
	}
	return end, nil
}

// ending is how a group, and what has left it, is told to end.
type ending struct {
	group int
	// first says that this process is the first of a container, or of another PID
	// namespace: all others in it are the group, or came of it.
	first bool
	grace time.Duration
	// send is kill(2).
	send func(pid int, signal syscall.Signal) error
	// until is when the grace is over, told those outside the group that have been told:
	// a second SIGTERM makes some programs end at once.
	until time.Time
	told  map[int]bool
}

// stop ends the group when the context is done before the program is.
func (e *ending) stop(ctx context.Context, program *os.Process, ended <-chan struct{}) (cause error, killed bool) { //nolint:revive // the cause is no error of this
	select {
	case <-ended:
		return nil, false
	case <-ctx.Done():
	}
	if errors.Is(program.Signal(syscall.Signal(0)), os.ErrProcessDone) {
		<-ended // it ended by itself: only its output was still read
		return nil, false
	}
	e.terminate(adopted(e.group))
	select {
	case <-ended:
		return context.Cause(ctx), false
	case <-time.After(e.grace):
	}
	e.kill(adopted(e.group))
	return context.Cause(ctx), true
}

// terminate sends SIGTERM to the group, the first time, and to orphans outside it that
// have not got it.
func (e *ending) terminate(orphans []int) {
	if e.until.IsZero() {
		e.until = time.Now().Add(e.grace)
		_ = e.send(-e.group, syscall.SIGTERM) // it may have ended by now
	}
	for _, pid := range orphans {
		if group, err := syscall.Getpgid(pid); err == nil && group != e.group && !e.told[pid] {
			e.told[pid] = true
			_ = e.send(pid, syscall.SIGTERM)
		}
	}
}

func (e *ending) kill(orphans []int) {
	if e.first {
		_ = e.send(-1, syscall.SIGKILL) // all but this process at one time, which no fork escapes
		return
	}
	_ = e.send(-e.group, syscall.SIGKILL) // either may have ended by now
	for _, pid := range orphans {
		_ = e.send(pid, syscall.SIGKILL)
	}
}

// killRest ends what outlived the program within what is left of the grace: the rest
// of its group, and the orphans that came to this process. What starts others
// meanwhile is met in the next round. It says whether all have ended.
func (e *ending) killRest() bool {
	for !e.over() {
		rest := adopted(e.group)
		e.terminate(rest)
		late := time.Since(e.until)
		if late > 0 {
			e.kill(rest)
		}
		collect(rest)
		if late > pipesStay {
			return e.over() // else in the kernel, which nothing ends, another user's by now, or too fast
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

// over says that nothing is left, in the group or of those that have left it.
func (e *ending) over() bool {
	return syscall.Kill(-e.group, syscall.Signal(0)) != nil && childless()
}

// reap collects orphans that have ended, of which a long run may leave many.
func reap(program int, ended <-chan struct{}) {
	ticker := time.NewTicker(reapEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
			collect(adopted(program))
		}
	}
}

// adopted lists this process' children but the program itself.
func adopted(program int) []int {
	self := strconv.Itoa(os.Getpid())
	threads, err := os.ReadDir("/proc/" + self + "/task")
	if err != nil {
		return nil // no /proc, as in some sandboxes: the group is all there is
	}
	var pids []int
	for _, thread := range threads {
		children, err := os.ReadFile("/proc/" + self + "/task/" + thread.Name() + "/children")
		if err != nil {
			continue // a thread that has ended
		}
		for child := range strings.FieldsSeq(string(children)) {
			if pid, err := strconv.Atoi(child); err == nil && pid != program {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// childless says that this process has no children, not even ones that have ended. Of
// what has left the group one is always a child: it comes here before its parent, if
// that was one, can be collected.
func childless() bool {
	return errors.Is(unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil), unix.ECHILD)
}

func collect(pids []int) {
	for _, pid := range pids {
		_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) // it may run on
	}
}
