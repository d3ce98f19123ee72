package finalize

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/snapshot"
)

const (
	// actionsPoll is the pause between two looks whether a task's actions are over, and actionsPatience for how long they
	// are waited for at a time, lest others' ends wait, too.
	actionsPoll     = 100 * time.Millisecond
	actionsPatience = 15 * time.Second
)

// readAfter stores the task's resources as the attempt has left them, read with the rights of the attempt's actions. A
// cluster that is away is an error: the end waits until it is back. What cannot be read at all is left out; the diff is
// then of what the agent reported.
func (f *Finalizer) readAfter(ctx context.Context, q *query.Queries, task query.Task) error {
	grants, err := grant.Parse(task.Grants)
	if err != nil {
		return err
	}
	targets := grant.Readable(grants)
	if len(targets) == 0 {
		return nil
	}
	before, err := q.HasLiveSnapshot(ctx, task.ID, snapshot.Before, 0)
	if err != nil || !before { // Its launch has failed, and so nothing was changed.
		return err
	}
	if known, err := q.HasLiveSnapshot(ctx, task.ID, snapshot.After, task.Attempt); err != nil || known {
		return err
	}
	if err := awaitActions(ctx, q, task); err != nil {
		return err
	}
	_, actions := kube.Identities(task.ID.String(), int(task.Attempt), f.config.Namespace, grants)
	acting, err := f.resources.As(actions.Namespace, actions.Name())
	if err != nil {
		return err
	}
	state, err := acting.Snapshot(ctx, targets, task.ManifestSalt)
	switch {
	case errors.Is(err, kube.ErrUnavailable):
		return fmt.Errorf("read what the task has left: %w", err)
	case err != nil:
		f.log.WarnContext(ctx, "what the task has left could not be read", "task", task.ID, "error", err)
		return nil
	}
	return snapshot.Store(ctx, q, task.ID, snapshot.After, task.Attempt, state)
}

// awaitActions waits until no action of the task is under way: callback begins none of a task that is being finalized, and
// none lasts beyond its time. problem.ErrUnavailable: they take longer, the end is to be tried again.
func awaitActions(ctx context.Context, q *query.Queries, task query.Task) error {
	ctx, cancel := context.WithTimeout(ctx, actionsPatience)
	defer cancel()
	for {
		acting, err := q.IsActing(ctx, task.ID)
		if err != nil {
			return fmt.Errorf("look for actions of task %s: %w", task.ID, err)
		}
		if !acting {
			return nil
		}
		select {
		case <-ctx.Done():
			return problem.ErrUnavailable.With("actions of task %s are under way", task.ID).Because(context.Cause(ctx))
		case <-time.After(actionsPoll):
		}
	}
}

// revoke takes an attempt's rights away. Should that be cut off, the sweep does it.
func (f *Finalizer) revoke(ctx context.Context, task query.Task, attempt int) {
	grants, err := grant.Parse(task.Grants)
	if err == nil && len(grants) > 0 {
		err = f.resources.Revoke(ctx, task.ID.String(), attempt, f.config.Namespace, grant.Namespaces(grants))
	}
	if err != nil {
		f.log.WarnContext(ctx, "rights not taken away; the sweep will", "task", task.ID, "attempt", attempt, "error", err)
	}
}

// revokeEnded takes away the rights of attempts that have ended.
func (f *Finalizer) revokeEnded(ctx context.Context) error {
	identities, err := f.resources.ListIdentities(ctx, f.config.Namespace)
	if err != nil {
		return fmt.Errorf("list the identities of attempts: %w", err)
	}
	var granted attempts
	for _, i := range identities {
		granted.add(i.TaskID, i.Attempt)
	}
	if len(granted.ids) == 0 {
		return nil
	}
	q := query.New(f.pool)
	ended, err := q.ListEnded(ctx, granted.ids, granted.tasks, granted.numbers)
	if err != nil {
		return fmt.Errorf("compare identities with tasks: %w", err)
	}
	// An attempt has up to three of them, which are revoked together.
	slices.Sort(ended)
	for _, id := range slices.Compact(ended) {
		name, attempt, err := limiter.ParseAttemptID(id)
		if err != nil {
			return err
		}
		task, err := q.GetTask(ctx, uuid.MustParse(name))
		if errors.Is(err, pgx.ErrNoRows) {
			continue // of another installation, as Graf forgets no task
		}
		if err != nil {
			return fmt.Errorf("read task %s: %w", name, err)
		}
		f.revoke(ctx, task, attempt)
	}
	return nil
}
