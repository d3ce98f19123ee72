package services

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
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

// nextFreePort counts through the range, so that this process never gives one
// port twice, from a start that differs from other processes'.
var nextFreePort atomic.Int64

func init() {
	nextFreePort.Store(rand.Int64N(lastFreePort - firstFreePort)) //nolint:gosec // not for secrecy
}

// freePort finds a port that nothing listens on.
func freePort() (int, error) {
	for range 100 {
		port := firstFreePort + int(nextFreePort.Add(1)%(lastFreePort-firstFreePort))
		if checkPort(address(loopback, port)) == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port found between %d and %d", firstFreePort, lastFreePort)
}

// checkPort fails with ErrPortTaken when another program listens on the address.
func checkPort(address string) error {
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
