package kubernetes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Buckets beside those of the resources.
var (
	bucketVersions = []byte("versions") // its sequence is the resourceVersion
	bucketOwned    = []byte("owned")    // owner uid / resource / namespace / name → nothing
	bucketExpiry   = []byte("expiry")   // big-endian Unix nanoseconds, job key → job uid
	bucketOutbox   = []byte("outbox")   // big-endian resourceVersion → verb, newline, Job
)

const (
	syncInterval = time.Second
	lockTimeout  = time.Second
)

// key names an object.
type key struct {
	resource        *resource
	namespace, name string
}

func (k key) bytes() []byte { return []byte(k.namespace + "/" + k.name) }

func keyOf(r *resource, o object) key { return key{r, o.GetNamespace(), o.GetName()} }

// notFound is the API's error for an object that does not exist.
func (k key) notFound() error { return apierrors.NewNotFound(k.resource.group(), k.name) }

// store keeps the objects in one bbolt file. It does not wait for the disk on each write: a write survives the
// process, and the file is synced every second for what survives the machine.
type store struct {
	db *bbolt.DB
	// mu makes the order in which changes are published that of their resourceVersions.
	mu      sync.Mutex
	changes *broadcast
	// recording adds to a write before its commit; published is told of each commit, in order, while mu is held.
	recording func(*transaction) error
	published func([]change)

	waiting   map[string]chan struct{} // by resource/namespace/name
	waitingMu sync.Mutex

	stop    chan struct{}
	stopped sync.WaitGroup
}

func openStore(folder string) (*store, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(folder, "objects.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use: another platform runs on this data folder; stop it or choose another", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w (remove the file to start with an empty cluster)", path, err)
	}
	s := &store{
		db: db, waiting: map[string]chan struct{}{}, stop: make(chan struct{}),
		recording: func(*transaction) error { return nil },
		published: func([]change) {},
	}
	if err := s.createBuckets(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.changes = newBroadcast(s.version())
	s.stopped.Go(s.syncLoop)
	return s, nil
}

func (s *store) createBuckets() error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		names := [][]byte{bucketVersions, bucketOwned, bucketExpiry, bucketOutbox}
		for _, r := range resources {
			names = append(names, []byte(r.name))
		}
		for _, name := range names {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *store) syncLoop() {
	ticker := time.NewTicker(syncInterval)
	defer ticker.Stop()
	synced := uint64(0)
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			if version := s.version(); version != synced && s.db.Sync() == nil {
				synced = version
			}
		}
	}
}

func (s *store) close() error {
	close(s.stop)
	s.stopped.Wait()
	s.changes.close()
	return errors.Join(s.db.Sync(), s.db.Close())
}

// version is the resourceVersion of the newest write.
func (s *store) version() (version uint64) {
	_ = s.db.View(func(tx *bbolt.Tx) error {
		version = tx.Bucket(bucketVersions).Sequence()
		return nil
	})
	return version
}

// update runs fn in one atomic write and tells everybody who waits or watches what it changed.
func (s *store) update(fn func(*transaction) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &transaction{}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		t.tx = tx
		if err := fn(t); err != nil {
			return err
		}
		return s.recording(t)
	})
	if err != nil {
		return err
	}
	s.published(t.changes)
	s.changes.send(t.changes)
	for _, c := range t.changes {
		s.wake(c.key)
	}
	return nil
}

// read runs fn on a consistent view of the store.
func (s *store) read(fn func(*transaction) error) error {
	return s.db.View(func(tx *bbolt.Tx) error { return fn(&transaction{tx: tx}) })
}

// get reads one object.
func (s *store) get(k key, into object) error {
	return s.read(func(t *transaction) error { return t.get(k, into) })
}

// await returns a channel that is closed at the next change of k. Read the object after the call, not before.
func (s *store) await(k key) <-chan struct{} {
	s.waitingMu.Lock()
	defer s.waitingMu.Unlock()
	id := k.resource.name + "/" + string(k.bytes())
	if s.waiting[id] == nil {
		s.waiting[id] = make(chan struct{})
	}
	return s.waiting[id]
}

// wake ends every wait for k; one that ended in vain waits anew.
func (s *store) wake(k key) {
	s.waitingMu.Lock()
	defer s.waitingMu.Unlock()
	id := k.resource.name + "/" + string(k.bytes())
	if waiting := s.waiting[id]; waiting != nil {
		close(waiting)
		delete(s.waiting, id)
	}
}

// each calls fn with each object of a type, as JSON, in one namespace or in all ("").
func (t *transaction) each(r *resource, namespace string, fn func(raw []byte) error) error {
	cursor := t.tx.Bucket([]byte(r.name)).Cursor()
	var prefix []byte
	if namespace != "" && r.namespaced {
		prefix = []byte(namespace + "/")
	}
	for k, raw := cursor.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, raw = cursor.Next() {
		if err := fn(raw); err != nil {
			return err
		}
	}
	return nil
}

// owned lists what an owner owns.
func (t *transaction) owned(uid string) []key {
	var keys []key
	prefix := []byte(uid + "/")
	cursor := t.tx.Bucket(bucketOwned).Cursor()
	for k, _ := cursor.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = cursor.Next() {
		parts := strings.SplitN(string(k), "/", 4)
		keys = append(keys, key{resourceNamed(parts[1]), parts[2], parts[3]})
	}
	return keys
}

func decode(raw []byte, into object) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("stored object: %w", err)
	}
	return nil
}
