package launch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/postgres/query"
)

// keepSlot keeps a launching task's slot until the given time, which it notes
// first: a rebuild of the slots then counts the task. false: the slot is gone,
// because Redis was wiped before that, and the task waits for another.
func (l *Launcher) keepSlot(ctx context.Context, task query.Task, until time.Time) (bool, error) {
	if err := l.noteSlot(ctx, task, &until); err != nil {
		return false, err
	}
	id := limiter.AttemptID(task.ID.String(), int(task.Attempt))
	err := l.rebuilding(ctx, func() error { return l.slots.Extend(ctx, id, until) })
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, limiter.ErrNotHeld) {
		return false, fmt.Errorf("keep the slot of task %s: %w", task.ID, err)
	}
	if err := l.noteSlot(ctx, task, nil); err != nil {
		return false, err
	}
	err = l.slots.Enqueue(ctx, waiting(task.ID, task.Caller, task.Namespaces, task.Priority, task.Attempt, task.CreatedAt))
	if err != nil {
		return false, fmt.Errorf("let task %s wait for a slot: %w", task.ID, err)
	}
	return false, nil
}

// noteSlot notes until when a launching task holds its slot; nil: it holds none.
func (l *Launcher) noteSlot(ctx context.Context, task query.Task, until *time.Time) error {
	if err := query.New(l.pool).NoteSlot(ctx, until, task.ID, task.Attempt); err != nil {
		return fmt.Errorf("note the slot of task %s: %w", task.ID, err)
	}
	return nil
}
