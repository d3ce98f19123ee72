package finalize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/redact"
)

const (
	logContentType = "text/plain; charset=utf-8"
	// logCopies bounds the logs that one instance copies at once: each may take 7 MiB.
	logCopies = 4
	// logStoreTime is what storing a log may take after it was read.
	logStoreTime = 10 * time.Second
	// storageRest is how long object storage is not asked again for the next log when it was away for one: many ends
	// that each wait for it would leave no time for anything else.
	storageRest = 10 * time.Second
)

// logName is the name of an attempt's log among the task's artifacts.
func logName(attempt int16) string { return fmt.Sprintf("attempt-%d.log", attempt) }

// logCopier bounds what copying logs takes.
type logCopier struct {
	slots chan struct{}
	// awayUntil is in nanoseconds since 1970.
	awayUntil atomic.Int64
}

func newLogCopier() *logCopier { return &logCopier{slots: make(chan struct{}, logCopies)} }

// keepLog stores what the container of a finalizing task's attempt wrote, unless it is stored already. While object
// storage or the API server is away it fails, to be tried again, until the end has waited for LogWait; then, and where
// there is no log to be had, the task ends without, and finalize's own log says why.
func (f *Finalizer) keepLog(ctx context.Context, task query.Task, execution kube.Execution) error {
	err := f.copyLog(ctx, task, execution)
	switch {
	case err == nil:
		return nil
	case (errors.Is(err, artifact.ErrUnavailable) || errors.Is(err, kube.ErrUnavailable)) && !f.waited(task):
		return fmt.Errorf("keep the log: %w", err)
	case errors.Is(err, errLogState):
		return err
	}
	f.log.WarnContext(ctx, "the log of an attempt is not kept", "task", task.ID, "attempt", task.Attempt, "error", err)
	return nil
}

// waited tells whether the end of a task has waited for LogWait.
func (f *Finalizer) waited(task query.Task) bool {
	return task.FinalizingAt != nil && time.Since(*task.FinalizingAt) > f.config.LogWait
}

// keepStoppingLog stores the log of an execution whose pods are being ended because of its deadline or its deletion:
// once it has ended they are gone. It tries once, and may fail, as the end itself tries again.
func (f *Finalizer) keepStoppingLog(ctx context.Context, id uuid.UUID, attempt int) error {
	task, o, running, err := f.observeAttempt(ctx, id, attempt)
	if err != nil || !running || !o.Stopping() {
		return err
	}
	f.keepLogBeforeStop(ctx, task, o.Execution)
	return nil
}

// keepLogBeforeStop stores the log of an execution whose pods are about to be gone, as far as that can be done.
func (f *Finalizer) keepLogBeforeStop(ctx context.Context, task query.Task, execution kube.Execution) {
	if err := f.copyLog(ctx, task, execution); err != nil {
		f.log.WarnContext(ctx, "the log of an attempt that is being stopped is not kept as yet",
			"task", task.ID, "attempt", task.Attempt, "error", err)
	}
}

// executionOf is the execution of a task's present attempt, also of one that is gone, of which an observation says
// nothing: its pod may be there yet.
func (f *Finalizer) executionOf(task query.Task, attempt query.Attempt, o kube.Observation) kube.Execution {
	if o.Execution.Name != "" {
		return o.Execution
	}
	return kube.Execution{
		Kind: kube.KindFor(task.OrchestrationMode), Name: kube.JobName(task.ID.String(), int(task.Attempt)),
		Namespace: f.config.Namespace, UID: value(attempt.ExecutionUid),
	}
}

// errLogState says that the database did not answer.
var errLogState = errors.New("whether the log is kept is not known")

func (f *Finalizer) copyLog(ctx context.Context, task query.Task, execution kube.Execution) error {
	if f.config.LogMaxBytes == 0 || execution.UID == "" { // Without a UID it was never launched.
		return nil
	}
	q := query.New(f.pool)
	if kept, err := q.HasLog(ctx, task.ID, task.Attempt); err != nil || kept {
		return unknownLog(err)
	}
	row, err := f.storeLog(ctx, task, execution)
	if err != nil || row.SizeBytes == 0 {
		return err
	}
	inserted, err := q.InsertLog(ctx, row)
	if err == nil && inserted == 1 {
		return nil
	}
	// Another has kept it meanwhile, or nobody will know of this one.
	return errors.Join(unknownLog(err), f.artifacts.Remove(context.WithoutCancel(ctx), row.ObjectKey))
}

func unknownLog(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errLogState, err)
}

// storeLog copies the log into object storage. Of a container that wrote nothing it stores nothing.
func (f *Finalizer) storeLog(ctx context.Context, task query.Task, execution kube.Execution) (query.InsertLogParams, error) {
	if until := time.Unix(0, f.copier.awayUntil.Load()); time.Now().Before(until) {
		return query.InsertLogParams{}, fmt.Errorf("%w: it was, a moment ago", artifact.ErrUnavailable)
	}
	select {
	case f.copier.slots <- struct{}{}:
		defer func() { <-f.copier.slots }()
	case <-ctx.Done():
		return query.InsertLogParams{}, fmt.Errorf("wait for other logs: %w", ctx.Err())
	}
	bounded, cancel := context.WithTimeout(ctx, f.config.LogTimeout+logStoreTime)
	defer cancel()
	reading, stop := context.WithTimeoutCause(bounded, f.config.LogTimeout,
		fmt.Errorf("it took longer than %v (GRAF_LOG_TIMEOUT)", f.config.LogTimeout))
	defer stop()
	stream, err := f.cluster.Log(reading, execution)
	if err != nil {
		return query.InsertLogParams{}, err
	}
	defer func() { _ = stream.Close() }() // Reading has told of every error that matters.
	row, err := f.write(bounded, task, newExcerpt(redact.NewReader(&timed{reading, stream}), f.config.LogMaxBytes))
	if errors.Is(err, artifact.ErrUnavailable) && ctx.Err() == nil {
		f.copier.awayUntil.Store(time.Now().Add(storageRest).UnixNano())
	}
	return row, err
}

func (f *Finalizer) write(ctx context.Context, task query.Task, content io.Reader) (query.InsertLogParams, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(content, first); errors.Is(err, io.EOF) {
		return query.InsertLogParams{}, nil
	} else if err != nil {
		return query.InsertLogParams{}, fmt.Errorf("read the log: %w", err)
	}
	id := uuid.Must(uuid.NewV7())
	row := query.InsertLogParams{
		ID: id, TaskID: task.ID, Attempt: task.Attempt, Name: logName(task.Attempt), ContentType: logContentType,
		ObjectKey: artifact.Key(task.ID.String(), id.String()),
	}
	written, err := f.artifacts.Write(ctx, row.ObjectKey, row.ContentType, io.MultiReader(bytes.NewReader(first), content))
	if err != nil {
		return query.InsertLogParams{}, err
	}
	row.SizeBytes, row.Sha256 = written.Size, written.SHA256
	return row, nil
}

// timed tells of a reading that took too long by the context's cause.
type timed struct {
	ctx  context.Context //nolint:containedctx // of one reading
	from io.Reader
}

func (t *timed) Read(to []byte) (int, error) {
	n, err := t.from.Read(to)
	if err != nil && !errors.Is(err, io.EOF) && t.ctx.Err() != nil {
		err = context.Cause(t.ctx)
	}
	return n, err
}
