package finalize

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/retry"
	"github.com/graf-run/graf/shared/telemetry"
)

// actor is the function's name in the audit.
const actor = "graf/finalize"

// cluster observes and ends executions; *kube.Client is the real one.
type cluster interface {
	Get(ctx context.Context, execution kube.Execution) (kube.Observation, error)
	List(ctx context.Context, namespace string) ([]kube.Observation, error)
	Delete(ctx context.Context, execution kube.Execution) error
	Termination(ctx context.Context, execution kube.Execution) (kube.Termination, error)
}

// Finalizer ends tasks.
type Finalizer struct {
	pool      *pgxpool.Pool
	outbox    *outbox.Outbox
	slots     *limiter.Slots
	artifacts *artifact.Store
	cluster   cluster
	// resources is the same cluster, for those tasks that may act in it.
	resources *kube.Client
	config    Config
	log       *slog.Logger
}

// Finalize brings the attempt whose execution has ended to its end: the task is
// finished, or queued for another attempt. Doing it twice, or for an attempt
// that is long past, changes nothing.
func (f *Finalizer) Finalize(ctx context.Context, o kube.Observation) error {
	id, err := uuid.Parse(o.TaskID)
	if err != nil {
		f.log.WarnContext(ctx, "an execution's label is no task id", "execution", o.Execution, "label", o.TaskID)
		return nil //nolint:nilerr // somebody else's: to deliver it again would not help
	}
	task, begun, err := f.begin(ctx, id, o)
	if err != nil {
		return err
	}
	if !begun {
		return f.finalizeAgain(ctx, id, o)
	}
	return f.finish(ctx, task, o)
}

// finalizeAgain carries on an end that was cut off. What has ended altogether
// only gives its slot back, should that have been cut off too.
func (f *Finalizer) finalizeAgain(ctx context.Context, id uuid.UUID, o kube.Observation) error {
	task, err := query.New(f.pool).GetTask(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read task %s: %w", id, err)
	}
	if task.Status == "finalizing" && int(task.Attempt) == o.Attempt {
		return f.finish(ctx, task, o)
	}
	f.release(ctx, id, o.Attempt)
	return nil
}

// finish gathers what there is to know of a finalizing task's attempt, decides
// how it ended, and stores and announces that.
func (f *Finalizer) finish(ctx context.Context, task query.Task, o kube.Observation) error {
	ctx = telemetry.WithTraceParent(ctx, task.TraceParent)
	found, err := f.gather(ctx, task, o)
	if err != nil {
		return fmt.Errorf("finalize task %s: %w", task.ID, err)
	}
	err = f.outbox.Transact(ctx, func(tx *outbox.Tx) error {
		// Before the event that has launch look for a free slot.
		tx.AfterCommit(func(ctx context.Context) {
			f.release(ctx, task.ID, int(task.Attempt))
			f.revoke(ctx, task, int(task.Attempt))
		})
		// Read again: it may have been cancelled, or finished by another, since.
		now, err := tx.LockTask(ctx, task.ID)
		if err != nil || now.Status != "finalizing" || now.Attempt != task.Attempt {
			return err
		}
		task = now
		end := decide(task, found)
		if end.again {
			return f.requeue(ctx, tx, task, found, end)
		}
		return f.end(ctx, tx, task, found, end)
	})
	if err != nil {
		return fmt.Errorf("finalize task %s: %w", task.ID, err)
	}
	return nil
}

func (f *Finalizer) requeue(ctx context.Context, tx *outbox.Tx, task query.Task, found evidence, end ending) error {
	wait := max(retry.Backoff(int(task.Attempt), f.config.retry(), rand.Float64), min(end.after, f.config.RetryMax))
	notBefore := time.Now().Add(wait).UTC()
	_, err := tx.RequeueTask(ctx, query.RequeueTaskParams{
		UpdatedBy: actor, NotBefore: &notBefore, TaskID: task.ID, Attempt: task.Attempt,
		FailureClass: &end.class, FailureReason: &end.reason,
	})
	if err != nil {
		return err
	}
	if err := f.endAttempt(ctx, tx, task, found, end); err != nil {
		return err
	}
	if err := remember(ctx, tx.Queries, task, found, end); err != nil {
		return err
	}
	tx.Announce(event.NewTask(ctx, event.TypeTaskRequeued, event.SourceFinalize, task.ID, event.TaskRequeued{
		TaskID: task.ID, Attempt: int(task.Attempt) + 1, NotBefore: notBefore,
		FailureClass: end.class, FailureReason: end.reason,
	}))
	return nil
}

func (f *Finalizer) end(ctx context.Context, tx *outbox.Tx, task query.Task, found evidence, end ending) error {
	ended, err := tx.EndTask(ctx, query.EndTaskParams{
		Status: end.status, UpdatedBy: actor, TaskID: task.ID, Attempt: task.Attempt,
		DiffDigest: optional(found.diff.Digest), DiffUnified: optional(found.diff.Unified),
		DiffSummary:  optional(found.diff.Summary),
		FailureClass: optional(end.class), FailureReason: optional(end.reason),
	})
	if err != nil {
		return err
	}
	if err := f.endAttempt(ctx, tx, task, found, end); err != nil {
		return err
	}
	if err := remember(ctx, tx.Queries, task, found, end); err != nil {
		return err
	}
	return tx.AnnounceFinished(ctx, event.SourceFinalize, ended)
}

func (f *Finalizer) endAttempt(ctx context.Context, tx *outbox.Tx, task query.Task, found evidence, end ending) error {
	e := found.observation.Execution
	return tx.EndAttempt(ctx, query.EndAttemptParams{
		TaskID: task.ID, Attempt: task.Attempt, ExitCode: found.exitCode,
		FailureClass: optional(end.class), FailureReason: optional(end.reason),
		Kind: optional(e.Kind), Name: optional(e.Name), Namespace: optional(e.Namespace), Uid: optional(e.UID),
	})
}

// release gives an attempt's slot back. If Redis is away the slot's lease ends
// by itself, or the sweep finds it.
func (f *Finalizer) release(ctx context.Context, task uuid.UUID, attempt int) {
	_, err := f.slots.Release(ctx, limiter.AttemptID(task.String(), attempt))
	if err != nil && !errors.Is(err, limiter.ErrRebuild) {
		f.log.WarnContext(ctx, "slot not released; the sweep will", "task", task, "error", err)
	}
}

// Observe looks at the execution of an attempt and finalizes it if it has ended.
// An attempt that is past only gives its slot back, should that have been cut off.
func (f *Finalizer) Observe(ctx context.Context, id uuid.UUID, attempt int) error {
	task, err := query.New(f.pool).GetTask(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read task %s: %w", id, err)
	}
	return f.observeTask(ctx, task, attempt)
}

// observeTask is Observe for a task that was read.
func (f *Finalizer) observeTask(ctx context.Context, task query.Task, attempt int) error {
	id := task.ID
	switch {
	case attempt > int(task.Attempt):
		return nil
	case attempt < int(task.Attempt), !slices.Contains([]string{"launching", "running", "finalizing"}, task.Status):
		f.release(ctx, id, attempt)
		return nil
	}
	if task.Status == "finalizing" {
		return f.resume(ctx, task)
	}
	o, err := f.observe(ctx, id, attempt, kube.KindFor(task.OrchestrationMode))
	if err != nil || !o.Finished() {
		return err
	}
	if task.Status == "launching" && o.Reason == reasonGone {
		// Launch may be about to create it. To be looked at again when the launch is over.
		return problem.ErrUnavailable.With("task %s is being launched and has no execution", id)
	}
	return f.Finalize(ctx, o)
}

// observe reads the execution of an attempt, by the name that it must have: an
// attempt may have ended before launch could note it. One that is gone counts as
// failed, and so does one whose name somebody else's has.
func (f *Finalizer) observe(ctx context.Context, id uuid.UUID, attempt int, kind string) (kube.Observation, error) {
	o, err := f.cluster.Get(ctx, kube.Execution{
		Kind: kind, Namespace: f.config.Namespace, Name: kube.JobName(id.String(), attempt),
	})
	switch {
	case errors.Is(err, kube.ErrNotFound), errors.Is(err, kube.ErrInvalid):
		return gone(kube.Observation{TaskID: id.String(), Attempt: attempt}), nil
	case err != nil:
		return kube.Observation{}, fmt.Errorf("look for the execution of task %s: %w", id, err)
	}
	return o, nil
}

// reasonGone is the Reason of an execution that was deleted from outside.
const reasonGone = "Deleted"

// gone is what is known of an execution that does not exist any more.
func gone(o kube.Observation) kube.Observation {
	o.Phase, o.Reason = kube.PhaseFailed, reasonGone
	o.Message = "the execution was deleted before it ended"
	return o
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
