package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

var (
	// eventsBucket maps a sequence number to a stored record.
	eventsBucket = []byte("events")
	// pendingBucket has a bucket for each Trigger, whose keys are the sequence
	// numbers of the events that it still has to deliver.
	pendingBucket = []byte("pending")

	errFull   = errors.New("too many undelivered events")
	errClosed = errors.New("the journal is closed")
)

// maxBatch bounds the operations of one transaction.
const maxBatch = 512

// journal keeps undelivered events on disk. One goroutine writes; it commits
// together whatever has arrived while it was committing, so that the cost of a
// transaction is shared under load and nobody waits for company without it.
//
// Commits do not wait for the disk (NoSync): the operating system has them, so a
// crash or kill of this process loses nothing, and the file is synced every
// interval while there is something to sync. Only a power cut can lose the last
// events, or damage the file. On one machine the same cut takes the functions
// down, and their outbox and sweep in Postgres announce again what matters; an
// fsync for each event would cost more than everything else here together.
type journal struct {
	db       *bbolt.DB
	log      *slog.Logger
	ops      chan *operation
	done     chan struct{}
	interval time.Duration
	maxBytes int64

	mu       sync.Mutex
	sequence uint64
	bytes    int64
	open     map[uint64]*outstanding
	closed   bool
}

// outstanding is an event that some Triggers still have to deliver.
type outstanding struct {
	size     int64
	triggers int
}

// operation is one change: an event to be stored for triggers (raw is set), or
// one Trigger's delivery to be struck off.
type operation struct {
	sequence uint64
	raw      []byte
	triggers []string
	last     bool
	result   chan error
}

// openJournal opens the file, or makes it.
func openJournal(path string, interval time.Duration, maxBytes int64, log *slog.Logger) (*journal, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:        time.Second,
		NoSync:         true,
		NoGrowSync:     true,
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
	})
	if err != nil {
		return nil, fmt.Errorf("open the file of undelivered events %s (is another broker using it?): %w", path, err)
	}
	j := &journal{
		db: db, log: log, ops: make(chan *operation, maxBatch), done: make(chan struct{}),
		interval: interval, maxBytes: maxBytes, open: map[uint64]*outstanding{},
	}
	if err := db.Update(j.load); err != nil {
		return nil, errors.Join(fmt.Errorf("read undelivered events: %w", err), db.Close())
	}
	go j.write()
	return j, nil
}

// load makes the buckets, counts what is pending, and drops events that nobody
// waits for.
func (j *journal) load(tx *bbolt.Tx) error {
	events, err := tx.CreateBucketIfNotExists(eventsBucket)
	if err != nil {
		return err
	}
	pending, err := tx.CreateBucketIfNotExists(pendingBucket)
	if err != nil {
		return err
	}
	err = pending.ForEachBucket(func(trigger []byte) error {
		return pending.Bucket(trigger).ForEach(func(key, _ []byte) error {
			j.count(binary.BigEndian.Uint64(key), events.Get(key))
			return nil
		})
	})
	if err != nil {
		return err
	}
	cursor := events.Cursor()
	for key, _ := cursor.First(); key != nil; key, _ = cursor.Next() {
		sequence := binary.BigEndian.Uint64(key)
		j.sequence = max(j.sequence, sequence)
		if j.open[sequence] == nil {
			if err := cursor.Delete(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (j *journal) count(sequence uint64, raw []byte) {
	if j.open[sequence] == nil {
		j.open[sequence] = &outstanding{size: int64(len(raw))}
		j.bytes += int64(len(raw))
	}
	j.open[sequence].triggers++
}

// put stores a record for triggers and returns its sequence number once it is
// committed. It fails with errFull beyond the bound.
func (j *journal) put(r *record, triggers []string) (uint64, error) {
	raw, err := r.encode()
	if err != nil {
		return 0, err
	}
	j.mu.Lock()
	if j.bytes+int64(len(raw)) > j.maxBytes {
		j.mu.Unlock()
		return 0, errFull
	}
	j.sequence++
	op := &operation{sequence: j.sequence, raw: raw, triggers: triggers, result: make(chan error, 1)}
	j.bytes += int64(len(raw))
	j.open[op.sequence] = &outstanding{size: int64(len(raw)), triggers: len(triggers)}
	j.mu.Unlock()
	j.ops <- op
	if err := <-op.result; err != nil {
		j.forget(op.sequence)
		return 0, fmt.Errorf("store event: %w", err)
	}
	return op.sequence, nil
}

func (j *journal) forget(sequence uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if event := j.open[sequence]; event != nil {
		j.bytes -= event.size
		delete(j.open, sequence)
	}
}

// strike notes that a Trigger is done with an event. It does not wait: after a
// crash in between, the event is delivered once more.
func (j *journal) strike(sequence uint64, trigger string) {
	j.mu.Lock()
	event := j.open[sequence]
	event.triggers--
	last := event.triggers == 0
	j.mu.Unlock()
	if last {
		j.forget(sequence)
	}
	j.ops <- &operation{sequence: sequence, triggers: []string{trigger}, last: last}
}

// get reads a stored record.
func (j *journal) get(sequence uint64) (*record, error) {
	var found *record
	err := j.db.View(func(tx *bbolt.Tx) error {
		var err error
		found, err = decode(tx.Bucket(eventsBucket).Get(key(sequence)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read event %d: %w", sequence, err)
	}
	return found, nil
}

// pending returns what each Trigger has left to deliver, oldest first.
func (j *journal) pending() (map[string][]uint64, error) {
	left := map[string][]uint64{}
	err := j.db.View(func(tx *bbolt.Tx) error {
		triggers := tx.Bucket(pendingBucket)
		return triggers.ForEachBucket(func(trigger []byte) error {
			return triggers.Bucket(trigger).ForEach(func(key, _ []byte) error {
				left[string(trigger)] = append(left[string(trigger)], binary.BigEndian.Uint64(key))
				return nil
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read undelivered events: %w", err)
	}
	return left, nil
}

// undelivered counts the events that some Trigger still has to deliver.
func (j *journal) undelivered() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.open)
}

// close writes what is left, syncs and closes the file. Nothing may be put or
// struck off any more.
func (j *journal) close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return errClosed
	}
	j.closed = true
	j.mu.Unlock()
	close(j.ops)
	<-j.done
	if err := errors.Join(j.db.Sync(), j.db.Close()); err != nil {
		return fmt.Errorf("close the file of undelivered events: %w", err)
	}
	return nil
}

func key(sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(nil, sequence)
}
