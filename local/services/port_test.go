package services

import (
	"net"
	"os/exec"
	"sync"
	"testing"
)

func TestFreePortGivesNoneTwice(t *testing.T) {
	t.Parallel()
	var given sync.Map
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 10 {
				port, err := FreePort()
				if err != nil {
					t.Error(err)
					return
				}
				if _, twice := given.LoadOrStore(port, true); twice {
					t.Errorf("%d was given twice", port)
				}
				// This is what another process would try first.
				if claim, err := net.ListenPacket("udp", address(loopback, port)); err == nil {
					_ = claim.Close()
					t.Errorf("%d can be claimed again", port)
				}
			}
		})
	}
	callers.Wait()
}

// TestFreePortStaysFreeWhileProcessesStart would fail where a started process, between fork and exec, still held the
// socket that a port was tried with.
func TestFreePortStaysFreeWhileProcessesStart(t *testing.T) {
	t.Parallel()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var starters sync.WaitGroup
	for range 4 {
		starters.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := exec.CommandContext(t.Context(), "true").Run(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2000 {
		if err := checkPort(address(loopback, port)); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	starters.Wait()
}
