package platform

import (
	"io"
	"net"
	"sync"
	"testing"
)

// line is a way to a server that can be cut, and restored.
type line struct {
	address, server string
	mu              sync.Mutex
	isCut           bool
	open            []net.Conn
	attempts        int // since it was cut
}

func newLine(t *testing.T, server string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l := &line{address: listener.Addr().String(), server: server}
	var work sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); l.cut(); work.Wait() })
	work.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { l.carry(connection) })
		}
	})
	return l
}

// carry passes on what both sides say, until either ends or the line is cut.
func (l *line) carry(connection net.Conn) {
	defer func() { _ = connection.Close() }() // nothing is buffered
	server, err := net.Dial("tcp", l.server)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }() // likewise
	l.mu.Lock()
	cut := l.isCut
	if cut {
		l.attempts++
	} else {
		l.open = append(l.open, connection, server)
	}
	l.mu.Unlock()
	if cut {
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() {
		_, _ = io.Copy(connection, server) // that it was cut is no surprise
		_ = connection.Close()             // likewise
	})
	_, _ = io.Copy(server, connection) // likewise
	_ = server.Close()                 // likewise
	answers.Wait()
}

// cut ends all connections, and those to come at once.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
	for _, connection := range l.open {
		_ = connection.Close() // it may have ended by itself
	}
	l.open = nil
}

func (l *line) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut, l.attempts = false, 0
}

// awaitAttempts waits until a cut line has been tried so often.
func (l *line) awaitAttempts(t *testing.T, number int) {
	t.Helper()
	eventually(t, "Temporal is tried again", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.attempts >= number
	})
}
