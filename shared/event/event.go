// Package event defines the CloudEvents that Graf's functions trade: their
// types, their data, and constructors that give every event of a type the same
// source, subject and extensions. eventing/README.md has the table of who sends
// and who receives what; eventing/schemas the JSON Schema of each type's data.
package event

import (
	"context"
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
)

// Event is a CloudEvent.
type Event = cloudevents.Event

// Types of events. The version is part of the name: a change that a consumer
// could trip over is a new type beside the old one.
const (
	TypeTaskRequested       = "dev.graf.codex.task.requested.v1"
	TypeTaskSubmitted       = "dev.graf.codex.task.submitted.v1"
	TypeExecutionRequested  = "dev.graf.codex.task.execution_requested.v1"
	TypeTaskStarted         = "dev.graf.codex.task.started.v1"
	TypeTaskReported        = "dev.graf.codex.task.reported.v1"
	TypeTaskCancelRequested = "dev.graf.codex.task.cancel_requested.v1"
	TypeTaskRequeued        = "dev.graf.codex.task.requeued.v1"
	TypeTaskUndoRequested   = "dev.graf.codex.task.undo_requested.v1"
	TypeTaskFinished        = "dev.graf.codex.task.finished.v1"
	TypeApprovalRequested   = "dev.graf.codex.approval.requested.v1"
	TypeApprovalDecided     = "dev.graf.codex.approval.decided.v1"
	TypeMemoryPending       = "dev.graf.codex.memory.pending.v1"
	TypeQueueDue            = "dev.graf.codex.queue.due.v1"

	// Knative's own: the tick of a PingSource, and what an ApiServerSource in
	// resource mode says of a Kubernetes object.
	TypePing           = "dev.knative.sources.ping"
	TypeResourceAdd    = "dev.knative.apiserver.resource.add"
	TypeResourceUpdate = "dev.knative.apiserver.resource.update"
	TypeResourceDelete = "dev.knative.apiserver.resource.delete"
)

// Sources of Graf's events, one for each function that sends any.
const (
	SourceSubmit   = "/graf/submit"
	SourceCallback = "/graf/callback"
	SourceEmbed    = "/graf/embed"
	SourceLaunch   = "/graf/launch"
	SourceFinalize = "/graf/finalize"
)

// Extension attributes, for Triggers to filter on.
const (
	// ExtensionTerminal is "true" on a task.reported event that brings a
	// completed or failed event, else "false".
	ExtensionTerminal = "terminal"
	// ExtensionTaskStatus is the final status on a task.finished event.
	ExtensionTaskStatus = "taskstatus"
	// ExtensionReplayOf is the id of the dead letter whose event was sent again
	// as this one. It is no part of the event's identity.
	ExtensionReplayOf = "grafreplayof"
)

// TaskSubmitted is the data of task.submitted: a task was stored and waits.
type TaskSubmitted struct {
	TaskID     uuid.UUID `json:"taskId"`
	Caller     string    `json:"caller"`
	Priority   int       `json:"priority"`
	Namespaces []string  `json:"namespaces"`
	Tags       []string  `json:"tags"`
	CreatedAt  time.Time `json:"createdAt"`
	// RequestSource and RequestID name the task.requested event that the task
	// came by, so that its sender finds the task; empty if it came by HTTP.
	RequestSource string `json:"requestSource,omitempty"`
	RequestID     string `json:"requestId,omitempty"`
}

// Execution names what runs an attempt: a Kubernetes Job.
type Execution struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	UID       string `json:"uid"`
}

// ExecutionRequested is the data of task.execution_requested: attempt Attempt of
// a task that Temporal runs was given a slot. It may come again for one attempt.
type ExecutionRequested struct {
	TaskID  uuid.UUID `json:"taskId"`
	Attempt int       `json:"attempt"`
}

// TaskStarted is the data of task.started: an attempt was given to an execution.
type TaskStarted struct {
	TaskID     uuid.UUID `json:"taskId"`
	Attempt    int       `json:"attempt"`
	Execution  Execution `json:"execution"`
	MemoryUsed int       `json:"memoryUsed"`
	RecallMode string    `json:"recallMode"`
	StartedAt  time.Time `json:"startedAt"`
	DeadlineAt time.Time `json:"deadlineAt"`
}

// TaskReported is the data of task.reported: callback events FirstSequence to
// LastSequence were stored.
type TaskReported struct {
	TaskID        uuid.UUID `json:"taskId"`
	Attempt       int       `json:"attempt"`
	FirstSequence int64     `json:"firstSequence"`
	LastSequence  int64     `json:"lastSequence"`
	EventTypes    []string  `json:"eventTypes"`
}

// TaskCancelRequested is the data of task.cancel_requested: the execution is
// to be stopped.
type TaskCancelRequested struct {
	TaskID      uuid.UUID `json:"taskId"`
	RequestedBy string    `json:"requestedBy"`
}

// TaskRequeued is the data of task.requeued: the task waits for attempt
// Attempt, which does not start before NotBefore.
type TaskRequeued struct {
	TaskID        uuid.UUID `json:"taskId"`
	Attempt       int       `json:"attempt"`
	NotBefore     time.Time `json:"notBefore"`
	FailureClass  string    `json:"failureClass"`
	FailureReason string    `json:"failureReason"`
}

// TaskUndoRequested is the data of task.undo_requested: what the task changed is
// to be taken back, or shown if that is a dry run.
type TaskUndoRequested struct {
	TaskID      uuid.UUID `json:"taskId"`
	UndoID      uuid.UUID `json:"undoId"`
	RequestedBy string    `json:"requestedBy"`
	DryRun      bool      `json:"dryRun"`
}

// ApprovalRequested is the data of approval.requested: a task, or one action of
// it, waits for one of the approvers.
type ApprovalRequested struct {
	TaskID      uuid.UUID `json:"taskId"`
	ApprovalID  uuid.UUID `json:"approvalId"`
	Description string    `json:"description"`
	// Rule is the entry of the policy that asks for it.
	Rule string `json:"rule"`
	// Approvers are patterns of callers' names.
	Approvers []string `json:"approvers"`
	Reason    string   `json:"reason,omitempty"`
}

// ApprovalDecided is the data of approval.decided: an approval was given or
// refused.
type ApprovalDecided struct {
	TaskID     uuid.UUID `json:"taskId"`
	ApprovalID uuid.UUID `json:"approvalId"`
	// Decision is approved or rejected.
	Decision  string `json:"decision"`
	DecidedBy string `json:"decidedBy"`
}

// TaskFinished is the data of task.finished: the task reached its end.
type TaskFinished struct {
	TaskID        uuid.UUID `json:"taskId"`
	Status        string    `json:"status"`
	Attempts      int       `json:"attempts"`
	FailureClass  string    `json:"failureClass,omitempty"`
	FailureReason string    `json:"failureReason,omitempty"`
	DiffDigest    string    `json:"diffDigest,omitempty"`
	// Artifacts and Events count what the task has of each.
	Artifacts  int       `json:"artifacts"`
	Events     int64     `json:"events"`
	DurationMs int64     `json:"durationMs"`
	FinishedAt time.Time `json:"finishedAt"`
}

// MemoryPending is the data of memory.pending: texts wait for their vectors.
type MemoryPending struct {
	Pending int64 `json:"pending"`
}

// QueueDue is the data of queue.due: tasks wait that may start now.
type QueueDue struct {
	Waiting int64 `json:"waiting"`
}

// New makes an event with a fresh id, the present time and the trace of ctx.
// subject is the task's id, or empty for events about no single task. It
// panics if data cannot be JSON, which for the types above cannot happen.
func New(ctx context.Context, typ, source, subject string, data any) Event {
	e := cloudevents.New()
	e.SetID(uuid.Must(uuid.NewV7()).String())
	e.SetType(typ)
	e.SetSource(source)
	if subject != "" {
		e.SetSubject(subject)
	}
	e.SetTime(time.Now().UTC())
	if err := e.SetData(cloudevents.ApplicationJSON, data); err != nil {
		panic(fmt.Sprintf("event %s: %v", typ, err))
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	for key, value := range carrier {
		e.SetExtension(key, value)
	}
	return e
}

// NewTask makes an event about one task: its id is the subject.
func NewTask(ctx context.Context, typ, source string, task uuid.UUID, data any) Event {
	return New(ctx, typ, source, task.String(), data)
}

// TraceContext gives ctx the trace that e travels in, if it has one (the
// CloudEvents distributed tracing extension).
func TraceContext(ctx context.Context, e Event) context.Context {
	carrier := propagation.MapCarrier{}
	for _, key := range []string{"traceparent", "tracestate"} {
		if value, ok := e.Extensions()[key].(string); ok {
			carrier[key] = value
		}
	}
	return propagation.TraceContext{}.Extract(ctx, carrier)
}
