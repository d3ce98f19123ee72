package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/redact"
)

// launcher begins attempts; *launch.Launcher is the real one.
type launcher interface {
	Prepare(ctx context.Context, task uuid.UUID, attempt int) error
	Launch(ctx context.Context, task uuid.UUID, attempt int) error
}

// finalizer ends them; *finalize.Finalizer is the real one.
type finalizer interface {
	NoteEnd(ctx context.Context, task uuid.UUID, attempt int) error
	Observe(ctx context.Context, task uuid.UUID, attempt int) error
}

// Activities are the steps of a CodexTaskWorkflow. Each may be done twice.
type Activities struct {
	pool      *pgxpool.Pool
	launcher  launcher
	finalizer finalizer
	// grace is how long after its deadline an execution may still be ending.
	grace time.Duration
}

// Types of the activities' errors, as histories have them.
const (
	// errorUnreadable is of what was stored and cannot be read: nor another time.
	errorUnreadable = "unreadable"
	// errorTemporary is of anything else.
	errorTemporary = "temporary"
)

// PrepareTaskContext recalls what earlier tasks taught and stores the attempt
// with its prompt.
func (a *Activities) PrepareTaskContext(ctx context.Context, attempt Attempt) (Standing, error) {
	standing, err := a.step(ctx, attempt, a.launcher.Prepare)
	if err == nil && standing.Stage == StageQueued {
		err = failure(errors.New("the attempt was not prepared"))
	}
	return standing, err
}

// LaunchExecution makes the Job of a prepared attempt. Done again it makes a new
// token for the container, unless there is a Job.
func (a *Activities) LaunchExecution(ctx context.Context, attempt Attempt) (Standing, error) {
	return a.step(ctx, attempt, a.launcher.Launch)
}

// ObserveExecution looks at the Job and notes its end.
func (a *Activities) ObserveExecution(ctx context.Context, attempt Attempt) (Standing, error) {
	return a.step(ctx, attempt, a.finalizer.NoteEnd)
}

// FinalizeTask finishes the task, or lets it wait for its next attempt.
func (a *Activities) FinalizeTask(ctx context.Context, attempt Attempt) (Standing, error) {
	return a.step(ctx, attempt, a.finalizer.Observe)
}

// step does something and tells where the attempt stands then.
func (a *Activities) step(
	ctx context.Context, attempt Attempt, do func(context.Context, uuid.UUID, int) error,
) (Standing, error) {
	stop := beat(ctx)
	defer stop()
	if err := do(ctx, attempt.TaskID, attempt.Number); err != nil {
		return Standing{}, failure(err)
	}
	task, err := query.New(a.pool).GetTask(ctx, attempt.TaskID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Standing{}, failure(fmt.Errorf("read task %s: %w", attempt.TaskID, err))
	}
	return standing(task, attempt, a.grace), nil
}

// beat tells Temporal that this worker lives, until stop is called. A step of a worker
// that was killed is so tried again long before its time is up.
func beat(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var beating sync.WaitGroup
	beating.Go(func() {
		ticker := time.NewTicker(heartbeatTimeout / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				activity.RecordHeartbeat(ctx)
			}
		}
	})
	return func() {
		cancel()
		beating.Wait()
	}
}

// standing tells where a task's attempt stands.
func standing(task query.Task, attempt Attempt, grace time.Duration) Standing {
	switch {
	case task.Status == StageQueued && int(task.Attempt)+1 == attempt.Number:
		return Standing{Stage: StageQueued}
	case int(task.Attempt) != attempt.Number:
		return Standing{Stage: StagePast}
	}
	switch task.Status {
	case StageLaunching, StageFinalizing:
		return Standing{Stage: task.Status}
	case StageRunning:
		s := Standing{Stage: StageRunning}
		if task.DeadlineAt != nil {
			s.LookAt = task.DeadlineAt.Add(grace)
		}
		return s
	}
	return Standing{Stage: StagePast}
}

// failure is an error as a history may keep it: without secrets, and marked if
// to try again is of no use.
func failure(err error) error {
	text := redact.Text(err.Error())
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &mismatch) {
		return temporal.NewNonRetryableApplicationError(text, errorUnreadable, nil)
	}
	return temporal.NewApplicationError(text, errorTemporary)
}
