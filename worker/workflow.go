package worker

import (
	"context"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Attempt names one attempt of a task. With what a Standing says, it is all that
// histories hold of a task: neither its prompt nor its token.
type Attempt struct {
	TaskID uuid.UUID `json:"taskId"`
	Number int       `json:"attempt"`
}

// Standing is where an attempt stands, as Postgres has it.
type Standing struct {
	// Stage is the task's status as long as it is at this attempt, else StagePast.
	Stage string `json:"stage"`
	// LookAt is when a running execution is to be looked at that has not told of
	// its end: its deadline and a grace period.
	LookAt time.Time `json:"lookAt,omitzero"`
}

// Stages of an attempt.
const (
	StageQueued     = "queued"
	StageLaunching  = "launching"
	StageRunning    = "running"
	StageFinalizing = "finalizing"
	// StagePast is of what has ended, and of what waits for another attempt.
	StagePast = "past"
)

// Signals of a CodexTaskWorkflow. None has data: each says what to look at again.
const (
	// SignalExecutionRequested: launch has given the attempt its slot.
	SignalExecutionRequested = "execution-requested"
	// SignalExecutionEnded: the Job has ended or is gone.
	SignalExecutionEnded = "execution-ended"
	// SignalAgentReported: the agent has said its last word.
	SignalAgentReported = "agent-reported"
	// SignalTaskEnded: the attempt was ended by another than the workflow.
	SignalTaskEnded = "task-ended"
)

// heartbeatTimeout is after what silence of a worker Temporal gives its step to another.
const heartbeatTimeout = 15 * time.Second

// lookAgain is the least pause between two looks at an execution that is overdue.
const lookAgain = 5 * time.Second

// CodexTaskWorkflow runs one attempt of a task: prepares it, launches its
// execution, waits for its end and finalizes the task. Each step goes by where
// the task stands, so that a step which another has done is not done again; it
// returns when the attempt is past. Its error is of a step that cannot succeed;
// then finalize's sweep is left to end the task.
func CodexTaskWorkflow(ctx workflow.Context, attempt Attempt) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 2 * time.Minute, HeartbeatTimeout: heartbeatTimeout,
		// Without end: what a server that is away holds up waits until it is back.
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute,
			NonRetryableErrorTypes: []string{errorUnreadable},
		},
	})
	forget(ctx, SignalExecutionRequested) // the one that it was started with
	now := Standing{Stage: StageQueued}
	for now.Stage != StagePast {
		if now.Stage == StageRunning {
			waitForCompletion(ctx, now.LookAt)
		}
		var next Standing
		if err := workflow.ExecuteActivity(ctx, step(now.Stage), attempt).Get(ctx, &next); err != nil {
			return err
		}
		if now.Stage == StageLaunching && next.Stage == StageLaunching {
			// Put off, or without its slot: launch sees to both, and asks again.
			await(ctx, 0, SignalExecutionRequested, SignalTaskEnded)
		}
		now = next
	}
	return nil
}

// step is the activity that takes an attempt on from a stage.
func step(stage string) func(context.Context, Attempt) (Standing, error) {
	var a *Activities // only its methods' names count here
	switch stage {
	case StageQueued:
		return a.PrepareTaskContext
	case StageLaunching:
		return a.LaunchExecution
	case StageRunning:
		return a.ObserveExecution
	default:
		return a.FinalizeTask
	}
}

// waitForCompletion waits for something that may be the end of the execution.
func waitForCompletion(ctx workflow.Context, lookAt time.Time) {
	pause := max(lookAt.Sub(workflow.Now(ctx)), lookAgain)
	await(ctx, pause, SignalExecutionEnded, SignalAgentReported, SignalTaskEnded)
}

// await waits for one of the signals, or for a pause if it is not 0, and forgets
// what else has come: all of them ask for the same look.
func await(ctx workflow.Context, pause time.Duration, signals ...string) {
	ctx, cancel := workflow.WithCancel(ctx)
	defer cancel() // stops the timer
	selector := workflow.NewSelector(ctx)
	for _, signal := range signals {
		selector.AddReceive(workflow.GetSignalChannel(ctx, signal), func(c workflow.ReceiveChannel, _ bool) {
			c.ReceiveAsync(nil)
		})
	}
	if pause > 0 {
		selector.AddFuture(workflow.NewTimer(ctx, pause), func(workflow.Future) {})
	}
	selector.Select(ctx)
	forget(ctx, signals...)
}

// forget takes signals that have come.
func forget(ctx workflow.Context, signals ...string) {
	for _, signal := range signals {
		for workflow.GetSignalChannel(ctx, signal).ReceiveAsync(nil) {
			continue
		}
	}
}
