package services

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
)

// loopback is the address that servers listen on unless told otherwise.
const loopback = "127.0.0.1"

// Free ports come from below the range (32768 and up on Linux) that outgoing
// connections take theirs from, so that none slips in between the choice of a
// port and its use, or while a server is stopped.
const (
	firstFreePort = 20000
	lastFreePort  = 32000
)

// claims are the ports given by FreePort. Each is held by a UDP socket of the
// same number until the process ends, so that no port is given twice, neither
// by this process nor by another that looks at the same time.
var claims struct {
	sync.Mutex
	held []net.PacketConn // kept from the garbage collector, which would close them
}

// FreePort finds a port of the loopback interface that nothing listens on, and
// claims it for as long as this process lives.
func FreePort() (int, error) {
	claims.Lock()
	defer claims.Unlock()
	for range 100 {
		port := firstFreePort + rand.IntN(lastFreePort-firstFreePort)  //nolint:gosec // not for secrecy
		claim, err := net.ListenPacket("udp", address(loopback, port)) //nolint:noctx // binding does not wait
		if err != nil {
			continue
		}
		if checkPort(address(loopback, port)) == nil {
			claims.held = append(claims.held, claim)
			return port, nil
		}
		_ = claim.Close()
	}
	return 0, fmt.Errorf("no free port found between %d and %d", firstFreePort, lastFreePort)
}

// checkPort fails with ErrPortTaken when another program listens on the address.
// No process is started meanwhile: until it executes its program it would hold this
// socket too, and the port would seem taken to the next who tries it.
func checkPort(address string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	listener, err := net.Listen("tcp", address) //nolint:noctx // binding does not wait
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: another program listens on %s", ErrPortTaken, address)
	}
	if err != nil {
		return fmt.Errorf("try %s: %w", address, err)
	}
	return listener.Close()
}

func address(host string, port int) string {
	return net.JoinHostPort(host, strconv.Itoa(port))
}
