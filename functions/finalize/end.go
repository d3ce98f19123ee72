package finalize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/redact"
)

// executionEnd is what is kept with an attempt of how its execution ended: by
// the time that an end which was cut off is carried on, the cluster may have
// forgotten the Job and its pod.
type executionEnd struct {
	Observation kube.Observation `json:"observation"`
	// Termination is nil as long as the pod was not read.
	Termination *kube.Termination `json:"termination,omitempty"`
}

func (e executionEnd) encode() (json.RawMessage, error) {
	e.Observation.Reason, e.Observation.Message = storable(e.Observation.Reason), storable(e.Observation.Message)
	if e.Termination != nil {
		t := *e.Termination
		t.Reason, t.Message = storable(t.Reason), storable(t.Message)
		e.Termination = &t
	}
	encoded, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode the end of %s: %w", e.Observation.Execution.Name, err)
	}
	return encoded, nil
}

// storable is a text of the cluster without secrets and without what no text has.
func storable(text string) string { return redact.Text(postgres.Text(text)) }

// begin moves a task whose execution has ended to finalizing, notes the end, and
// tells the task if it is a failure.
// false: it is not the task's present attempt, or somebody has taken it up.
func (f *Finalizer) begin(ctx context.Context, id uuid.UUID, o kube.Observation) (query.Task, bool, error) {
	end, err := executionEnd{Observation: o}.encode()
	if err != nil {
		return query.Task{}, false, err
	}
	row, err := query.New(f.pool).BeginFinalizing(ctx, query.BeginFinalizingParams{
		UpdatedBy: actor, TaskID: id, ExecutionEnd: end,
		Attempt: int16(o.Attempt), //nolint:gosec // kube.Parse takes no more
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return query.Task{}, false, nil
	}
	if err != nil {
		return query.Task{}, false, fmt.Errorf("begin to finalize task %s: %w", id, err)
	}
	f.tellFailure(ctx, query.Task(row), o)
	return query.Task(row), true, nil
}

// known is the end of a finalizing task's execution: the one that was noted, as
// the first to tell of an end saw it best, and o where nothing but the Job's
// absence was.
func known(attempt query.Attempt, o kube.Observation) (executionEnd, error) {
	if attempt.ExecutionEnd == nil {
		return executionEnd{Observation: o}, nil
	}
	var end executionEnd
	if err := json.Unmarshal(attempt.ExecutionEnd, &end); err != nil {
		return executionEnd{}, fmt.Errorf("end of attempt %d of task %s: %w", attempt.Attempt, attempt.TaskID, err)
	}
	if end.Observation.Reason == reasonGone {
		end.Observation = o
	}
	return end, nil
}

// overrun stops an execution that goes on past its deadline. That it timed out
// is noted first: its deletion alone would look like somebody else's.
func (f *Finalizer) overrun(ctx context.Context, id uuid.UUID, o kube.Observation) error {
	execution := o.Execution
	o.Phase = kube.PhaseDeadlineExceeded
	task, begun, err := f.begin(ctx, id, o)
	if err != nil || !begun {
		return err
	}
	f.keepLogBeforeStop(ctx, task, execution)
	if err := f.cluster.Delete(ctx, execution); err != nil {
		return fmt.Errorf("stop the execution of task %s: %w", id, err)
	}
	return f.finish(ctx, task, o)
}

// resume carries on an end that was cut off, and first the stopping of an
// execution if it was that.
func (f *Finalizer) resume(ctx context.Context, task query.Task) error {
	o, err := f.observe(ctx, task.ID, int(task.Attempt), kube.KindFor(task.OrchestrationMode))
	if err != nil {
		return err
	}
	if !o.Finished() {
		f.keepLogBeforeStop(ctx, task, o.Execution)
		if err := f.cluster.Delete(ctx, o.Execution); err != nil {
			return fmt.Errorf("stop the execution of task %s: %w", task.ID, err)
		}
		o = gone(o)
	}
	return f.finish(ctx, task, o)
}
