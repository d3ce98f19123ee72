package event_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/eventtest"
)

// What the constructors make is what eventing/schemas says, each field of it.
func TestDataMatchesItsSchema(t *testing.T) {
	t.Parallel()
	id, now := uuid.Must(uuid.NewV7()), time.Now().UTC()
	for typ, data := range map[string]any{
		event.TypeTaskSubmitted: event.TaskSubmitted{TaskID: id, Caller: "ci", Priority: 9, Namespaces: []string{"shop"},
			Tags: []string{"demo"}, CreatedAt: now, RequestSource: "/cluster/drift-detector", RequestID: "1"},
		event.TypeExecutionRequested: event.ExecutionRequested{TaskID: id, Attempt: 1},
		event.TypeTaskStarted: event.TaskStarted{TaskID: id, Attempt: 1,
			Execution:  event.Execution{Kind: "Job", Name: "codex-1-1", Namespace: "graf", UID: "u"},
			MemoryUsed: 3, RecallMode: "hybrid", StartedAt: now, DeadlineAt: now},
		event.TypeTaskReported: event.TaskReported{TaskID: id, Attempt: 1, FirstSequence: 1, LastSequence: 2,
			EventTypes: []string{"progress", "completed"}},
		event.TypeTaskCancelRequested: event.TaskCancelRequested{TaskID: id, RequestedBy: "ci"},
		event.TypeTaskUndoRequested:   event.TaskUndoRequested{TaskID: id, UndoID: id, RequestedBy: "ci", DryRun: true},
		event.TypeApprovalRequested: event.ApprovalRequested{TaskID: id, ApprovalID: id, Description: "apply Deployment live/web",
			Rule: "web-team/resources/2", Approvers: []string{"lead-*"}},
		event.TypeApprovalDecided: event.ApprovalDecided{TaskID: id, ApprovalID: id, Decision: "approved", DecidedBy: "lead-anna"},
		event.TypeTaskRequeued: event.TaskRequeued{TaskID: id, Attempt: 2, NotBefore: now, FailureClass: "infrastructure",
			FailureReason: "the node went away"},
		event.TypeTaskFinished: event.TaskFinished{TaskID: id, Status: "failed", Attempts: 2, FailureClass: "agent",
			FailureReason: "exit code 1", Artifacts: 1, Events: 7, DurationMs: 5321, FinishedAt: now},
		event.TypeMemoryPending: event.MemoryPending{Pending: 1},
		event.TypeQueueDue:      event.QueueDue{Waiting: 1},
	} {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			e := event.New(t.Context(), typ, event.SourceFinalize, "", data)
			if err := e.Validate(); err != nil {
				t.Error(err)
			}
			if err := eventtest.Check(e); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTraceTravelsInTheEvent(t *testing.T) {
	t.Parallel()
	state, err := trace.ParseTraceState("vendor=value")
	if err != nil {
		t.Fatal(err)
	}
	want := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state,
	})
	data := event.QueueDue{Waiting: 1}
	traced := event.New(trace.ContextWithSpanContext(t.Context(), want), event.TypeQueueDue, event.SourceFinalize, "", data)
	got := trace.SpanContextFromContext(event.TraceContext(t.Context(), traced))
	if !got.Equal(want.WithRemote(true)) {
		t.Errorf("the trace is %v, want %v", got, want)
	}
	untraced := event.New(context.Background(), event.TypeQueueDue, event.SourceFinalize, "", data)
	if got := trace.SpanContextFromContext(event.TraceContext(t.Context(), untraced)); got.IsValid() || len(untraced.Extensions()) > 0 {
		t.Errorf("an event outside a trace has %v, %v", got, untraced.Extensions())
	}
}

func TestSubjectIsTheTask(t *testing.T) {
	t.Parallel()
	id := uuid.Must(uuid.NewV7())
	about := event.NewTask(t.Context(), event.TypeTaskCancelRequested, event.SourceSubmit, id, event.TaskCancelRequested{})
	if about.Subject() != id.String() {
		t.Errorf("the subject is %q, want %s", about.Subject(), id)
	}
	if other := event.NewTask(t.Context(), about.Type(), about.Source(), id, nil); other.ID() == about.ID() {
		t.Error("two events with one id")
	}
}
