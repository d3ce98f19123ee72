package finalize

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/telemetry"
)

const (
	// relayBatch and relayBatches bound the events that one sweep publishes.
	relayBatch   = 200
	relayBatches = 10
	// refusedAge is how long the sink may refuse an event before it is given up. Each sweep tries it again until then.
	refusedAge = 10 * time.Minute
	// sweepBatch bounds the tasks that are read at a time.
	sweepBatch = 200
	// undoBatch bounds the requests to undo that one sweep announces again.
	undoBatch = 100
	// queuedAge is how long a task that might start is left to its own events.
	queuedAge = 5 * time.Second
	// uploadAge is after how long an upload in parts that is not complete is given up: equal to the API's document.
	uploadAge = 24 * time.Hour
	// pendingAge is the same for a text that waits for its vector.
	pendingAge = 15 * time.Second
)

// Sweep takes up what was left lying: events that were not published, ends that
// were cut off, executions whose end went unheard or that overrun, slots that
// nobody gave back, and tasks and texts that wait. Its parts run side by side, so
// that one whose server is away does not take the time of the others.
func (f *Finalizer) Sweep(ctx context.Context) error {
	parts := []func(context.Context) error{
		f.relay, f.resumeFinalizing, f.observeRunning, f.revokeEnded, f.announceUndos, f.abortUploads,
		// In this order: a slot that was reclaimed is for those that wait.
		func(ctx context.Context) error { return errors.Join(f.reclaimSlots(ctx), f.announceDue(ctx)) },
	}
	errs := make([]error, len(parts))
	var group sync.WaitGroup
	for i, part := range parts {
		group.Go(func() { errs[i] = part(ctx) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// relay publishes what was left in the outbox. An event that the sink does not take holds up no other; only if it takes
// none of many is it away.
func (f *Finalizer) relay(ctx context.Context) error {
	var errs []error
	for range relayBatches {
		relayed, err := f.outbox.Relay(ctx, relayBatch)
		errs = append(errs, err, f.giveUp(ctx, relayed.Refused))
		away := relayed.Sent+len(relayed.Refused) == 0
		if relayed.Claimed < relayBatch || away || ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (f *Finalizer) resumeFinalizing(ctx context.Context) error {
	q := query.New(f.pool)
	var errs []error
	storageAway := false
	for after, more := uuid.Nil, true; more; {
		stale, err := q.ListStaleFinalizing(ctx, f.config.StaleAfter, after, sweepBatch)
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("list ends that were cut off: %w", err))...)
		}
		for _, task := range stale {
			after = task.ID
			if storageAway && task.NeedsStorage {
				continue // one has waited for it; the next sweep asks again
			}
			err := f.Observe(ctx, task.ID, int(task.Attempt))
			storageAway = storageAway || errors.Is(err, artifact.ErrUnavailable)
			errs = append(errs, err)
		}
		more = len(stale) == sweepBatch
	}
	return errors.Join(errs...)
}

// observeRunning compares the tasks that run with the executions that there are.
func (f *Finalizer) observeRunning(ctx context.Context) error {
	executions, err := f.cluster.List(ctx, f.config.Namespace)
	if err != nil {
		return fmt.Errorf("list executions: %w", err)
	}
	return errors.Join(f.settleRunning(ctx, executions), f.removeLeft(ctx, executions))
}

// settleRunning looks after the tasks whose execution should run.
func (f *Finalizer) settleRunning(ctx context.Context, executions []kube.Observation) error {
	running, err := f.listUnobserved(ctx)
	if err != nil {
		return err
	}
	byAttempt := make(map[string]kube.Observation, len(executions))
	for _, o := range executions {
		byAttempt[limiter.AttemptID(o.TaskID, o.Attempt)] = o
	}
	var errs []error
	storageAway := false
	for _, task := range running {
		o, exists := byAttempt[limiter.AttemptID(task.ID.String(), int(task.Attempt))]
		if !exists {
			// The list is of a moment ago, and without Workflows if Graf has lost the right to them.
			if o, err = f.observe(ctx, task.ID, int(task.Attempt), value(task.ExecutionKind)); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		if storageAway && o.Finished() {
			continue
		}
		err := f.settle(ctx, task, o)
		storageAway = storageAway || errors.Is(err, artifact.ErrUnavailable)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeLeft removes the executions that go on although their attempt is over: of a launch that was given up, and whose
// request the API server carried out nevertheless.
func (f *Finalizer) removeLeft(ctx context.Context, executions []kube.Observation) error {
	active := map[string]kube.Observation{}
	var listed attempts
	for _, o := range executions {
		if !o.Finished() && !o.Deleting && listed.add(o.TaskID, o.Attempt) {
			active[limiter.AttemptID(o.TaskID, o.Attempt)] = o
		}
	}
	if len(active) == 0 {
		return nil
	}
	over, err := query.New(f.pool).ListOver(ctx, listed.ids, listed.tasks, listed.numbers)
	if err != nil {
		return fmt.Errorf("compare executions with tasks: %w", err)
	}
	var errs []error
	for _, id := range over {
		execution := active[id].Execution
		// It may have ended since it was listed, and be kept for people to look at, or its deletion have ended the attempt.
		if o, err := f.cluster.Get(ctx, execution); err != nil || o.Finished() || o.Deleting {
			continue
		}
		f.log.WarnContext(ctx, "an execution goes on although its attempt is over; it is removed", "execution", execution)
		errs = append(errs, f.cluster.Delete(ctx, execution))
	}
	return errors.Join(errs...)
}

func (f *Finalizer) listUnobserved(ctx context.Context) ([]query.ListUnobservedRow, error) {
	q := query.New(f.pool)
	var all []query.ListUnobservedRow
	for after, more := uuid.Nil, true; more; {
		page, err := q.ListUnobserved(ctx, f.config.StaleAfter, after, sweepBatch)
		if err != nil {
			return nil, fmt.Errorf("list running tasks: %w", err)
		}
		all = append(all, page...)
		if more = len(page) == sweepBatch; more {
			after = page[len(page)-1].ID
		}
	}
	return all, nil
}

// settle finalizes a running task whose execution has ended, overruns, or does not go away, as on a node that is
// lost; and repeats a cancellation that has had no effect.
func (f *Finalizer) settle(ctx context.Context, task query.ListUnobservedRow, o kube.Observation) error {
	switch {
	case o.Finished():
		return f.Finalize(ctx, o)
	case task.DeadlineAt != nil && time.Since(*task.DeadlineAt) > f.config.Grace:
		return f.overrun(ctx, task.ID, o)
	case !o.StopsBy.IsZero() && time.Since(o.StopsBy) > f.config.Grace:
		return f.Finalize(ctx, gone(o))
	case task.CancelRequestedAt != nil && time.Since(*task.CancelRequestedAt) > f.config.StaleAfter:
		ctx = telemetry.WithTraceParent(ctx, task.TraceParent)
		return f.announce(ctx, event.NewTask(ctx, event.TypeTaskCancelRequested, event.SourceFinalize, task.ID,
			event.TaskCancelRequested{TaskID: task.ID, RequestedBy: value(task.CancelRequestedBy)}))
	}
	return nil
}

// reclaimSlots frees the slots of attempts that have ended.
func (f *Finalizer) reclaimSlots(ctx context.Context) error {
	leased, err := f.slots.Held(ctx)
	if errors.Is(err, limiter.ErrRebuild) {
		// Launch rebuilds with the next task. If none comes, nobody needs slots
		// but those that wait: announceDue sees to them.
		return nil
	}
	if err != nil {
		return fmt.Errorf("list slots: %w", err)
	}
	var held attempts
	for _, lease := range leased {
		if id, attempt, err := limiter.ParseAttemptID(lease); err == nil {
			held.add(id, attempt)
		}
	}
	ended, err := query.New(f.pool).ListEnded(ctx, held.ids, held.tasks, held.numbers)
	if err != nil {
		return fmt.Errorf("compare slots with tasks: %w", err)
	}
	var errs []error
	for _, id := range ended {
		_, err := f.slots.Release(ctx, id)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// announceDue tells launch and embed that something waits for them; they are
// woken only if so.
func (f *Finalizer) announceDue(ctx context.Context) error {
	q := query.New(f.pool)
	due, err := q.CountDue(ctx, queuedAge, f.config.StaleAfter)
	if err != nil {
		return fmt.Errorf("count due tasks: %w", err)
	}
	pending, err := q.CountPending(ctx, pendingAge)
	if err != nil {
		return fmt.Errorf("count texts to embed: %w", err)
	}
	var events []event.Event
	if due > 0 {
		events = append(events, event.New(ctx, event.TypeQueueDue, event.SourceFinalize, "", event.QueueDue{Waiting: due}))
	}
	if pending > 0 {
		events = append(events,
			event.New(ctx, event.TypeMemoryPending, event.SourceFinalize, "", event.MemoryPending{Pending: pending}))
	}
	return f.announce(ctx, events...)
}

// announceUndos tells launch again of requests to undo whose event was lost, the oldest first. One that launch has in
// hand meanwhile is not done twice: what is taken back already needs nothing more.
func (f *Finalizer) announceUndos(ctx context.Context) error {
	forgotten, err := query.New(f.pool).ListForgottenUndos(ctx, f.config.StaleAfter, undoBatch)
	if err != nil {
		return fmt.Errorf("list requests to undo: %w", err)
	}
	events := make([]event.Event, 0, len(forgotten))
	for _, u := range forgotten {
		ctx := telemetry.WithTraceParent(ctx, u.TraceParent)
		events = append(events, event.NewTask(ctx, event.TypeTaskUndoRequested, event.SourceFinalize, u.TaskID,
			event.TaskUndoRequested{TaskID: u.TaskID, UndoID: u.ID, RequestedBy: u.RequestedBy, DryRun: u.DryRun}))
	}
	return f.announce(ctx, events...)
}

func (f *Finalizer) announce(ctx context.Context, events ...event.Event) error {
	if len(events) == 0 {
		return nil
	}
	return f.outbox.Transact(ctx, func(tx *outbox.Tx) error {
		tx.Announce(events...)
		return nil
	})
}

// abortUploads gives up uploads in parts that nobody completed. Object storage that is away is no fault of the sweep:
// the next one looks again.
func (f *Finalizer) abortUploads(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	aborted, err := f.artifacts.AbortUploads(ctx, uploadAge)
	if aborted > 0 {
		f.log.InfoContext(ctx, "uploads that were not completed are given up", "uploads", aborted)
	}
	if err != nil {
		f.log.WarnContext(ctx, "uploads that were not completed are looked for again later", "error", err)
	}
	return nil
}
