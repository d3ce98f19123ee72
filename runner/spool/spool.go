// Package spool keeps what an agent reports on disk until Graf has it. Events are
// sent in their order, in batches, again and again while Graf is away; that they
// have an effect once is the work of their ids, which Graf knows again.
package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of one request, which are Graf's own.
const (
	maxBatch      = 100
	maxBatchBytes = 1 << 20
)

// ErrFull says that the spool holds as much as it may, or that the disk does.
var ErrFull = errors.New("the spool is full")

// ErrTooLarge says that an event is more than one request may have.
var ErrTooLarge = errors.New("the event is too large")

// Event is one report, as the API's Event has it.
type Event struct {
	ID         string    `json:"eventId"`
	Type       string    `json:"eventType"`
	Content    any       `json:"content,omitempty"`
	Snapshot   any       `json:"snapshot,omitempty"`
	OccurredAt time.Time `json:"occurredAt,omitzero"`
}

// Spool is a queue of events in a file. Memory holds none of them. It is safe for
// use by several goroutines.
type Spool struct {
	mu    sync.Mutex
	file  *os.File
	limit int64
	// The file's bytes from sent to size are waiting, which are these many events.
	sent, size int64
	waiting    int
	// added has room for one: that there is something to send.
	added chan struct{}
}

// Open makes an empty spool in a folder, of at most limit bytes. Nobody else finds
// its file: it has no name, and is gone with the process.
func Open(folder string, limit int64) (*Spool, error) {
	file, err := os.CreateTemp(folder, "graf-spool-*")
	if err != nil {
		return nil, fmt.Errorf("make the spool: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("take the spool's name away: %w", err), file.Close())
	}
	return &Spool{file: file, limit: limit, added: make(chan struct{}, 1)}, nil
}

// Close gives the disk back; what was not sent is lost.
func (s *Spool) Close() error { return s.file.Close() }

// Waiting says how many events are still to be sent.
func (s *Spool) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

// Add appends an event. It fails with ErrFull if there is no room, with ErrTooLarge
// if no request has, and changes nothing then.
func (s *Spool) Add(e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	line = append(line, '\n')
	if len(line) > maxBatchBytes {
		return fmt.Errorf("%w: event %s has %d bytes", ErrTooLarge, e.ID, len(line))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size-s.sent+int64(len(line)) > s.limit {
		return fmt.Errorf("%w: %d bytes wait", ErrFull, s.size-s.sent)
	}
	if _, err := s.file.WriteAt(line, s.size); err != nil {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	s.size += int64(len(line))
	s.waiting++
	select {
	case s.added <- struct{}{}:
	default:
	}
	return nil
}

// batch is a number of whole lines at the head of the queue.
type batch struct {
	lines []byte
	count int
}

// next reads the events that go first, at most so many. It is empty if none waits.
func (s *Spool) next(most int) (batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	buffer := make([]byte, min(s.size-s.sent, maxBatchBytes))
	if _, err := s.file.ReadAt(buffer, s.sent); err != nil && !errors.Is(err, io.EOF) {
		return batch{}, fmt.Errorf("read the spool: %w", err)
	}
	var b batch
	for b.count < most {
		end := bytes.IndexByte(buffer[len(b.lines):], '\n')
		if end < 0 {
			break
		}
		b.lines, b.count = buffer[:len(b.lines)+end+1], b.count+1
	}
	if b.count == 0 && len(buffer) > 0 {
		return batch{}, fmt.Errorf("an event of more than %d bytes is in the spool", maxBatchBytes)
	}
	return b, nil
}

// remove takes a batch off the head, and gives its disk back.
func (s *Spool) remove(b batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent += int64(len(b.lines))
	s.waiting -= b.count
	if s.sent < s.size {
		// A file system that cannot do this gives it back when the spool is empty.
		_ = unix.Fallocate(int(s.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, s.sent)
		return nil
	}
	s.sent, s.size = 0, 0
	if err := s.file.Truncate(0); err != nil {
		return fmt.Errorf("empty the spool: %w", err)
	}
	return nil
}
