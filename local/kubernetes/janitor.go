package kubernetes

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// janitorBatch bounds how many expired Jobs one write removes.
const janitorBatch = 100

// janitorPause is the wait after a write that failed.
const janitorPause = time.Second

// janitor removes finished Jobs at the end of their time to live.
type janitor struct {
	store   *store
	kubelet *kubelet
	logger  *slog.Logger
	wake    chan struct{}
}

func newJanitor(s *store, k *kubelet, logger *slog.Logger) *janitor {
	return &janitor{store: s, kubelet: k, logger: logger, wake: make(chan struct{}, 1)}
}

// published follows the store: a Job that ended may be the next to expire.
func (j *janitor) published(changes []change) {
	for _, c := range changes {
		if job, ok := c.object.(*batchv1.Job); ok && jobFinished(job) {
			select {
			case j.wake <- struct{}{}:
			default:
			}
		}
	}
}

func (j *janitor) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.wake:
		case <-timer.C:
		}
		next, err := j.sweep(time.Now())
		switch {
		case err != nil:
			j.logger.Error("kubernetes: cannot remove expired Jobs", "error", err)
			timer.Reset(janitorPause)
		case next.IsZero():
			timer.Stop()
		default:
			timer.Reset(time.Until(next))
		}
	}
}

// sweep removes what has expired and returns when the next Job does; zero means there is none.
func (j *janitor) sweep(now time.Time) (next time.Time, err error) {
	next, due := j.nextExpiry()
	if !due || next.After(now) {
		return next, nil
	}
	var stop []types.UID
	err = j.store.update(func(t *transaction) error {
		stop, err = expireJobs(t, now)
		return err
	})
	for _, uid := range stop {
		j.kubelet.stop(uid)
	}
	return now, err
}

func (j *janitor) nextExpiry() (next time.Time, found bool) {
	_ = j.store.read(func(t *transaction) error {
		if id, _ := t.tx.Bucket(bucketExpiry).Cursor().First(); id != nil {
			next, found = expiryTime(id), true
		}
		return nil
	})
	return next, found
}

func expireJobs(t *transaction, now time.Time) (stop []types.UID, err error) {
	for range janitorBatch {
		id, uid := t.tx.Bucket(bucketExpiry).Cursor().First()
		if id == nil || expiryTime(id).After(now) {
			break
		}
		pods, err := expireJob(t, id, types.UID(uid))
		if err != nil {
			return nil, err
		}
		stop = append(stop, pods...)
	}
	return stop, nil
}

// expireJob removes one Job, unless it is gone already and another one has its name.
func expireJob(t *transaction, id []byte, uid types.UID) ([]types.UID, error) {
	namespace, name, _ := bytes.Cut(id[8:], []byte("/"))
	k, job := key{jobResource, string(namespace), string(name)}, &batchv1.Job{}
	if err := t.tx.Bucket(bucketExpiry).Delete(id); err != nil {
		return nil, err
	}
	if err := t.get(k, job); err != nil || job.UID != uid {
		if apierrors.IsNotFound(err) {
			err = nil
		}
		return nil, err
	}
	return erase(t, k, false)
}

func expiryTime(id []byte) time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(id))) //nolint:gosec // it was an int64 when it was written
}
