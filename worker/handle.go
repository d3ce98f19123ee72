package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// modeTemporal is the orchestration mode of the tasks that this worker runs.
const modeTemporal = "temporal"

func (w *Worker) handlers() map[string]delivery.HandlerFunc {
	return map[string]delivery.HandlerFunc{
		event.TypeExecutionRequested: w.handleExecutionRequested,
		event.TypeResourceUpdate: func(ctx context.Context, e event.Event) error {
			return w.handleJob(ctx, e, kube.Observation.Finished)
		},
		event.TypeResourceDelete: func(ctx context.Context, e event.Event) error {
			return w.handleJob(ctx, e, func(kube.Observation) bool { return true })
		},
		event.TypeTaskReported: w.handleReported,
		event.TypeTaskFinished: w.handleFinished,
		event.TypeTaskRequeued: w.handleRequeued,
	}
}

// handleExecutionRequested starts the attempt's workflow, or tells it that it is
// asked for again. What is not at that attempt is none of its business: an event
// is a hint, and a workflow that is started too early would be in the way later.
func (w *Worker) handleExecutionRequested(ctx context.Context, e event.Event) error {
	data, err := delivery.Data[event.ExecutionRequested](e)
	if err != nil {
		return err
	}
	attempt := Attempt{TaskID: data.TaskID, Number: data.Attempt}
	task, err := w.task(ctx, attempt.TaskID)
	if err != nil || task.OrchestrationMode != modeTemporal {
		return err
	}
	if s := standing(task, attempt, 0); s.Stage != StageQueued && s.Stage != StageLaunching {
		return nil
	}
	_, err = w.client.SignalWithStartWorkflow(ctx, workflowID(attempt), SignalExecutionRequested, nil,
		client.StartWorkflowOptions{
			TaskQueue:                w.config.TaskQueue,
			WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
			WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
			StaticSummary:            fmt.Sprintf("attempt %d of task %s", attempt.Number, attempt.TaskID),
		}, CodexTaskWorkflow, attempt)
	if _, ended := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); ended {
		return nil
	}
	return away(err)
}

// handleJob tells a workflow of the end of its Job.
func (w *Worker) handleJob(ctx context.Context, e event.Event, end func(kube.Observation) bool) error {
	job, err := kube.ParseJSON(e.Data())
	if errors.Is(err, kube.ErrInvalid) || (err == nil && !end(job)) {
		return nil
	}
	if err != nil {
		return err
	}
	task, err := uuid.Parse(job.TaskID)
	if err != nil {
		return nil //nolint:nilerr // somebody else's Job: to deliver it again would not help
	}
	return w.signal(ctx, Attempt{TaskID: task, Number: job.Attempt}, SignalExecutionEnded)
}

func (w *Worker) handleReported(ctx context.Context, e event.Event) error {
	data, err := delivery.Data[event.TaskReported](e)
	if err != nil {
		return err
	}
	return w.signal(ctx, Attempt{TaskID: data.TaskID, Number: data.Attempt}, SignalAgentReported)
}

// handleFinished tells a workflow of an end that it may not have brought about:
// the task was cancelled before it ran, or the sweep was faster.
func (w *Worker) handleFinished(ctx context.Context, e event.Event) error {
	data, err := delivery.Data[event.TaskFinished](e)
	if err != nil {
		return err
	}
	// Of a task that was cancelled while it waited, it is the attempt to come.
	for _, number := range []int{data.Attempts, data.Attempts + 1} {
		if err := w.signal(ctx, Attempt{TaskID: data.TaskID, Number: number}, SignalTaskEnded); err != nil {
			return err
		}
	}
	return nil
}

func (w *Worker) handleRequeued(ctx context.Context, e event.Event) error {
	data, err := delivery.Data[event.TaskRequeued](e)
	if err != nil {
		return err
	}
	return w.signal(ctx, Attempt{TaskID: data.TaskID, Number: data.Attempt - 1}, SignalTaskEnded)
}

// signal signals the workflow of an attempt. That there is none, or that it has
// ended, is no error.
func (w *Worker) signal(ctx context.Context, attempt Attempt, signal string) error {
	task, err := w.task(ctx, attempt.TaskID)
	if err != nil || task.OrchestrationMode != modeTemporal {
		return err
	}
	err = w.client.SignalWorkflow(ctx, workflowID(attempt), "", signal, nil)
	if _, unknown := errors.AsType[*serviceerror.NotFound](err); unknown {
		return nil
	}
	return away(err)
}

// task reads a task; one that does not exist is the zero task.
func (w *Worker) task(ctx context.Context, id uuid.UUID) (query.Task, error) {
	task, err := query.New(w.pool).GetTask(ctx, id)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return query.Task{}, fmt.Errorf("read task %s: %w", id, err)
	}
	return task, nil
}

// workflowID is the id of an attempt's workflow, the name of its Job.
func workflowID(attempt Attempt) string { return kube.JobName(attempt.TaskID.String(), attempt.Number) }

// away has the Broker deliver again what Temporal could not be told.
func away(err error) error {
	if err == nil {
		return nil
	}
	return problem.ErrUnavailable.With("Temporal did not take it; it is to be delivered again.").Because(err)
}
