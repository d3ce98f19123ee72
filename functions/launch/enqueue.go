package launch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/retry"
)

const (
	// admitBatch bounds the tasks that one event starts; launches of one batch
	// run side by side.
	admitBatch = 8
	// catchBatch bounds the tasks that are read at a time.
	catchBatch = 500
	// patience is how long a delivery waits for a task that is due soon. What
	// is due later waits in the retry bucket, and nothing runs meanwhile.
	patience = 5 * time.Second
	// staleAge is how old a launch is that nobody seems to carry on.
	staleAge = 30 * time.Second
	// finalizeReserve is how much longer than its deadline a task may hold its
	// slot: for the grace period, and for finalize to do its work.
	finalizeReserve = 2 * time.Minute
)

// Enqueue lets a queued task wait for a slot and starts what fits. A task that
// is launching already is one whose launch was cut off: it is carried on.
func (l *Launcher) Enqueue(ctx context.Context, id uuid.UUID) error {
	task, err := query.New(l.pool).GetTask(ctx, id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		// Its transaction was rolled back after all, or it is of another installation.
		return nil
	case err != nil:
		return fmt.Errorf("read task %s: %w", id, err)
	case task.Status == "launching":
		return l.resume(ctx, task)
	case task.Status != "queued":
		return nil
	case task.NotBefore != nil && time.Now().Before(*task.NotBefore):
		// What made it known came late: it waits for its next attempt already.
		return l.EnqueueAt(ctx, id, int(task.Attempt)+1, *task.NotBefore)
	}
	return l.enqueueAndAdmit(ctx, waiting(task.ID, task.Caller, task.Namespaces, task.Priority, task.Attempt+1, task.CreatedAt))
}

// EnqueueAt is Enqueue for a task that is not to start before a moment. Until
// then, others have the slot that its last attempt gave back.
func (l *Launcher) EnqueueAt(ctx context.Context, id uuid.UUID, attempt int, notBefore time.Time) error {
	wait := time.Until(notBefore)
	if wait > patience {
		_, err := l.bucket.Restore(ctx, retry.Item{
			ID: limiter.AttemptID(id.String(), attempt), Reason: "waits for its next attempt", Due: notBefore,
		})
		return errors.Join(err, l.Admit(ctx))
	}
	if wait > 0 {
		if err := l.Admit(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Until(notBefore)):
		}
	}
	return l.Enqueue(ctx, id)
}

// Admit starts waiting tasks as long as there are slots.
func (l *Launcher) Admit(ctx context.Context) error {
	return l.admit(ctx, func() ([]string, error) { return l.slots.Admit(ctx, admitBatch) })
}

// Catch takes up what is due and what was missed: items of the retry bucket,
// queued tasks that Redis does not know, and launches that were cut off.
func (l *Launcher) Catch(ctx context.Context) error {
	return errors.Join(l.catchDue(ctx), l.catchQueued(ctx), l.catchStale(ctx))
}

func (l *Launcher) catchDue(ctx context.Context) error {
	items, err := l.bucket.Due(ctx, admitBatch*4)
	if err != nil {
		return fmt.Errorf("take due launches: %w", err)
	}
	var errs []error
	for _, item := range items {
		errs = append(errs, l.catchItem(ctx, item))
	}
	return errors.Join(errs...)
}

// catchItem takes up one item. It leaves the bucket once its task neither waits
// nor is being launched, or is none; until then it comes due again.
func (l *Launcher) catchItem(ctx context.Context, item retry.Item) error {
	id, attempt, err := limiter.ParseAttemptID(item.ID)
	if err != nil {
		return err
	}
	taskID, err := uuid.Parse(id)
	if err != nil {
		return fmt.Errorf("retry bucket: %q is not a task: %w", id, err)
	}
	task, err := query.New(l.pool).GetTask(ctx, taskID)
	unknown := errors.Is(err, pgx.ErrNoRows) // Redis has outlived the database, which was restored.
	if err != nil && !unknown {
		return fmt.Errorf("read task %s: %w", taskID, err)
	}
	settled := (task.Status != "queued" || int(task.Attempt)+1 != attempt) &&
		(task.Status != "launching" || int(task.Attempt) != attempt)
	if unknown || settled {
		_, err := l.bucket.Done(ctx, item.ID)
		return err
	}
	return l.Enqueue(ctx, taskID)
}

func (l *Launcher) catchQueued(ctx context.Context) error {
	err := l.eachQueued(ctx, func(tasks []limiter.Task) error {
		return l.rebuilding(ctx, func() error { return l.slots.Enqueue(ctx, tasks...) })
	})
	if err != nil {
		return fmt.Errorf("enqueue tasks: %w", err)
	}
	return l.Admit(ctx)
}

// eachQueued goes through all tasks that may start now, page by page, lest those
// of one caller hide another's.
func (l *Launcher) eachQueued(ctx context.Context, do func([]limiter.Task) error) error {
	q := query.New(l.pool)
	for after, more := uuid.Nil, true; more; {
		rows, err := q.ListQueued(ctx, after, catchBatch)
		if err != nil {
			return fmt.Errorf("list queued tasks: %w", err)
		}
		tasks := make([]limiter.Task, len(rows))
		for i, r := range rows {
			tasks[i] = waiting(r.ID, r.Caller, r.Namespaces, r.Priority, r.Attempt+1, r.CreatedAt)
			after = r.ID
		}
		if err := do(tasks); err != nil {
			return err
		}
		more = len(rows) == catchBatch
	}
	return nil
}

func (l *Launcher) catchStale(ctx context.Context) error {
	q := query.New(l.pool)
	restored := 0
	for after, more := uuid.Nil, true; more; {
		rows, err := q.ListStaleLaunches(ctx, staleAge, after, catchBatch)
		if err != nil {
			return fmt.Errorf("list launches that were cut off: %w", err)
		}
		items := make([]retry.Item, len(rows))
		for i, r := range rows {
			items[i] = retry.Item{
				ID: limiter.AttemptID(r.ID.String(), int(r.Attempt)), Reason: "the launch was cut off", Due: time.Now(),
			}
			after = r.ID
		}
		if len(items) > 0 {
			n, err := l.bucket.Restore(ctx, items...)
			if err != nil {
				return err
			}
			restored += n
		}
		more = len(rows) == catchBatch
	}
	if restored == 0 {
		return nil
	}
	return l.catchDue(ctx)
}

func (l *Launcher) enqueueAndAdmit(ctx context.Context, task limiter.Task) error {
	first := true
	return l.admit(ctx, func() ([]string, error) {
		if first {
			first = false
			return l.slots.EnqueueAndAdmit(ctx, task, admitBatch)
		}
		return l.slots.Admit(ctx, admitBatch)
	})
}

// admit launches what next admits, batch by batch, until there is no more: a
// launch may give its slot back at once.
func (l *Launcher) admit(ctx context.Context, next func() ([]string, error)) error {
	for {
		var ids []string
		err := l.rebuilding(ctx, func() (err error) { ids, err = next(); return err })
		if err != nil {
			return fmt.Errorf("admit tasks: %w", err)
		}
		var group errgroup.Group
		for _, id := range ids {
			group.Go(func() error { return l.launchAdmitted(ctx, id) })
		}
		if err := group.Wait(); err != nil || len(ids) == 0 {
			return err
		}
	}
}

// rebuilding runs an operation on the slots, and again once they are rebuilt if
// Redis has lost them.
func (l *Launcher) rebuilding(ctx context.Context, operation func() error) error {
	err := operation()
	if !errors.Is(err, limiter.ErrRebuild) {
		return err
	}
	rebuilt, err := l.slots.Rebuild(ctx, l.loadSlots)
	if err != nil {
		return err
	}
	if rebuilt {
		l.log.InfoContext(ctx, "slots rebuilt from Postgres: Redis is new, was restarted or was wiped")
	}
	return operation()
}

// loadSlots reads from Postgres who holds a slot and who waits: also a launch
// that was cut off, unless it had noted that it keeps its slot until later.
func (l *Launcher) loadSlots(ctx context.Context) (limiter.State, error) {
	q := query.New(l.pool)
	holding, err := q.ListHolding(ctx)
	if err != nil {
		return limiter.State{}, fmt.Errorf("list tasks that hold a slot: %w", err)
	}
	var state limiter.State
	for _, r := range holding {
		task := waiting(r.ID, r.Caller, r.Namespaces, r.Priority, r.Attempt, r.CreatedAt)
		if r.Status == "launching" {
			if r.SlotUntil != nil && r.SlotUntil.After(time.Now()) {
				state.Held = append(state.Held, limiter.Lease{Task: task, Until: *r.SlotUntil})
			} else {
				state.Waiting = append(state.Waiting, task)
			}
			continue
		}
		until := time.Now().Add(time.Duration(r.TimeoutSeconds) * time.Second)
		if r.DeadlineAt != nil {
			until = *r.DeadlineAt
		}
		state.Held = append(state.Held, limiter.Lease{Task: task, Until: until.Add(finalizeReserve)})
	}
	err = l.eachQueued(ctx, func(tasks []limiter.Task) error {
		state.Waiting = append(state.Waiting, tasks...)
		return nil
	})
	return state, err
}

func waiting(id uuid.UUID, caller string, namespaces []string, priority, attempt int16, created time.Time) limiter.Task {
	return limiter.Task{
		ID: limiter.AttemptID(id.String(), int(attempt)), Caller: caller, Namespaces: namespaces,
		Priority: int(priority), CreatedAt: created,
	}
}
