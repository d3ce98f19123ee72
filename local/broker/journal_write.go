package broker

import (
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// write is the goroutine that commits operations until ops is closed. Without
// operations it sleeps, and nothing is synced.
func (j *journal) write() {
	defer close(j.done)
	var syncing sync.WaitGroup
	defer syncing.Wait()
	timer := time.NewTimer(j.interval)
	timer.Stop()
	dirty := false
	batch := make([]*operation, 0, maxBatch)
	for {
		select {
		case op, ok := <-j.ops:
			if !ok {
				return
			}
			batch = j.gather(append(batch[:0], op))
			j.commit(batch)
			if !dirty {
				dirty = true
				timer.Reset(j.interval)
			}
		case <-timer.C:
			dirty = false
			// Beside the loop, because a disk may take long over it.
			syncing.Go(j.sync)
		}
	}
}

func (j *journal) sync() {
	if err := j.db.Sync(); err != nil {
		j.log.Error("undelivered events could not be forced to disk", "error", err)
	}
}

// gather adds the operations that wait already.
func (j *journal) gather(batch []*operation) []*operation {
	for len(batch) < maxBatch {
		select {
		case op, ok := <-j.ops:
			if !ok {
				return batch
			}
			batch = append(batch, op)
		default:
			return batch
		}
	}
	return batch
}

// commit applies a batch in one transaction and tells those who wait. A failed
// strike is repeated by the next delivery of the same event, after a restart.
func (j *journal) commit(batch []*operation) {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		for _, op := range batch {
			if err := op.apply(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		j.log.Error("undelivered events could not be written", "operations", len(batch), "error", err)
	}
	for _, op := range batch {
		if op.result != nil {
			op.result <- err
		}
	}
}

func (op *operation) apply(tx *bbolt.Tx) error {
	if op.raw == nil {
		return op.strike(tx)
	}
	k := key(op.sequence)
	events := tx.Bucket(eventsBucket)
	// Sequence numbers only grow, so pages are filled to the end.
	events.FillPercent = 0.9
	if err := events.Put(k, op.raw); err != nil {
		return err
	}
	for _, trigger := range op.triggers {
		pending, err := tx.Bucket(pendingBucket).CreateBucketIfNotExists([]byte(trigger))
		if err != nil {
			return err
		}
		if err := pending.Put(k, nil); err != nil {
			return err
		}
	}
	return nil
}

func (op *operation) strike(tx *bbolt.Tx) error {
	k := key(op.sequence)
	if pending := tx.Bucket(pendingBucket).Bucket([]byte(op.triggers[0])); pending != nil {
		if err := pending.Delete(k); err != nil {
			return err
		}
	}
	if !op.last {
		return nil
	}
	return tx.Bucket(eventsBucket).Delete(k)
}
