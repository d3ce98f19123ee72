package kubernetes

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// notifyLanes is how many Jobs' changes are handed over at once.
	notifyLanes      = 8
	notifyTimeout    = 30 * time.Second
	notifyFirstPause = 50 * time.Millisecond
	notifyLastPause  = 5 * time.Second
)

var verbs = map[watch.EventType]string{watch.Added: VerbAdd, watch.Modified: VerbUpdate, watch.Deleted: VerbDelete}

// notifier hands the changes of Jobs over to Notify. Each change is kept in the outbox, written together with the Job,
// until Notify has taken it.
type notifier struct {
	store  *store
	notify Notify
	logger *slog.Logger
	lanes  [notifyLanes]*lane
}

// lane is a queue of resourceVersions: all changes of one Job go through the same one, so their order holds.
type lane struct {
	mu      sync.Mutex
	pending []uint64
	wake    chan struct{}
}

func newNotifier(s *store, notify Notify, logger *slog.Logger) *notifier {
	n := &notifier{store: s, notify: notify, logger: logger}
	for i := range n.lanes {
		n.lanes[i] = &lane{wake: make(chan struct{}, 1)}
	}
	return n
}

// record keeps the transaction's changes of Jobs for delivery. It is part of the same atomic write.
func (n *notifier) record(t *transaction) error {
	for _, c := range t.changes {
		if c.key.resource != jobResource {
			continue
		}
		value := append([]byte(verbs[c.event]+"\n"), c.raw...)
		if err := t.tx.Bucket(bucketOutbox).Put(versionKey(c.version), value); err != nil {
			return err
		}
	}
	return nil
}

// enqueue passes on what record kept, after the commit.
func (n *notifier) enqueue(changes []change) {
	for _, c := range changes {
		if c.key.resource == jobResource {
			n.laneOf(c.key.namespace, c.key.name).push(c.version)
		}
	}
}

// load queues what an earlier process did not hand over.
func (n *notifier) load() error {
	return n.store.read(func(t *transaction) error {
		return t.tx.Bucket(bucketOutbox).ForEach(func(k, value []byte) error {
			_, job, err := parseRecord(value)
			if err != nil {
				return err
			}
			n.laneOf(job.GetNamespace(), job.GetName()).push(binary.BigEndian.Uint64(k))
			return nil
		})
	})
}

func (n *notifier) laneOf(namespace, name string) *lane {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(namespace + "/" + name))
	return n.lanes[hash.Sum32()%notifyLanes]
}

// run hands changes over until ctx ends.
func (n *notifier) run(ctx context.Context) {
	var running sync.WaitGroup
	for _, l := range n.lanes {
		running.Go(func() {
			for {
				version, ok := l.pop(ctx)
				if !ok {
					return
				}
				n.deliver(ctx, version)
			}
		})
	}
	running.Wait()
}

func (n *notifier) deliver(ctx context.Context, version uint64) {
	verb, job, err := n.lookup(version)
	if err != nil {
		n.logger.Error("kubernetes: unreadable change in the outbox", "resourceVersion", version, "error", err)
		return
	}
	for pause := notifyFirstPause; ; pause = min(2*pause, notifyLastPause) {
		err := n.attempt(ctx, verb, job)
		if err == nil {
			break
		}
		n.logger.Warn("kubernetes: a Job's change was not taken, trying again",
			"verb", verb, "job", job.GetName(), "pause", pause, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	if err := n.forget(version); err != nil {
		n.logger.Error("kubernetes: a delivered change stays in the outbox", "resourceVersion", version, "error", err)
	}
}

func (n *notifier) attempt(ctx context.Context, verb string, job *unstructured.Unstructured) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	return n.notify(ctx, verb, job.DeepCopy())
}

func (n *notifier) lookup(version uint64) (verb string, job *unstructured.Unstructured, err error) {
	err = n.store.read(func(t *transaction) error {
		verb, job, err = parseRecord(t.tx.Bucket(bucketOutbox).Get(versionKey(version)))
		return err
	})
	return verb, job, err
}

func (n *notifier) forget(version uint64) error {
	return n.store.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketOutbox).Delete(versionKey(version)) })
}

func parseRecord(value []byte) (string, *unstructured.Unstructured, error) {
	verb, raw, found := bytes.Cut(value, []byte("\n"))
	if !found {
		return "", nil, fmt.Errorf("no verb in a record of %d bytes", len(value))
	}
	job := &unstructured.Unstructured{}
	return string(verb), job, job.UnmarshalJSON(raw)
}

func versionKey(version uint64) []byte { return binary.BigEndian.AppendUint64(nil, version) }

func (l *lane) push(version uint64) {
	l.mu.Lock()
	l.pending = append(l.pending, version)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// pop waits for the next version; it reports false when ctx ends first.
func (l *lane) pop(ctx context.Context) (uint64, bool) {
	for {
		l.mu.Lock()
		if len(l.pending) > 0 {
			version := l.pending[0]
			l.pending = l.pending[1:]
			l.mu.Unlock()
			return version, true
		}
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return 0, false
		case <-l.wake:
		}
	}
}
