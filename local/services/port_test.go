package services

import (
	"net"
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
