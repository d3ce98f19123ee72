package services

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// shell is a process that runs a script and answers once the file that the
// script makes, ready, is there.
func shell(t *testing.T, script string) *process {
	t.Helper()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	return &process{
		name: "shell", folder: folder, address: address(loopback, port), portVariable: "PORT", stopSignal: syscall.SIGTERM,
		command: func() *exec.Cmd {
			cmd := exec.Command("sh", "-c", script)
			cmd.Dir = folder
			return cmd
		},
		probe: func(context.Context) error {
			_, err := os.Stat(filepath.Join(folder, "ready"))
			return err
		},
	}
}

func TestStartShowsTheLog(t *testing.T) {
	t.Parallel()
	p := shell(t, "echo earlier; echo no such configuration >&2; exit 3")
	err := p.Start(deadline(t))
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no such configuration") {
		t.Errorf("got %v; want the status and the log", err)
	}
	again := p.Start(deadline(t))
	if again == nil || strings.Count(again.Error(), "no such configuration") != 1 {
		t.Errorf("got %v; want this run's part of the log alone", again)
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	p := shell(t, "echo thinking; exec sleep 1000")
	ctx, cancel := context.WithCancel(deadline(t))
	probed := make(chan struct{}, 1)
	p.probe = func(context.Context) error {
		select {
		case probed <- struct{}{}:
		default:
		}
		return errors.New("not yet")
	}
	go func() {
		<-probed
		cancel()
	}()
	if err := p.Start(ctx); err == nil || !strings.Contains(err.Error(), "does not answer: not yet") {
		t.Fatalf("got %v", err)
	}
	if r := p.latest(); r.alive() {
		t.Error("the program was left running")
	}
}

func TestStopKillsTheStubborn(t *testing.T) {
	t.Parallel()
	// Its own child is in its process group and must go with it.
	p := shell(t, "trap '' TERM; sleep 1000 & echo $! > child; touch ready; wait; wait")
	if err := p.Start(deadline(t)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Stop(ctx); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("got %v, want that it was killed", err)
	}
	if err := p.Err(); err != nil {
		t.Errorf("Err after Stop: %v", err)
	}
	// The lock is free only when every process that inherited it has gone.
	lock, err := waitLock(deadline(t), filepath.Join(p.folder, "lock"))
	if err != nil {
		t.Fatalf("a child was left: %v", err)
	}
	_ = lock.Close()
}
