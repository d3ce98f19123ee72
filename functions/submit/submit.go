package submit

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/telemetry"
)

// keptTokens bounds a task's tokens for its submitter: a repetition adds one,
// and the oldest over the bound is forgotten.
const keptTokens = 8

// Submission is a request for a task.
type Submission struct {
	// Caller is who is answerable for the task.
	Caller string
	// Key makes submitting idempotent for this caller; empty for a task of its own.
	Key string
	// Request is valid by the OpenAPI document. Its idempotency key is not read.
	Request api.TaskSubmission
	// IssueToken is whether somebody waits for a token to report with.
	IssueToken bool
	// RetryOf is the task that this one runs again, if it does.
	RetryOf *uuid.UUID
	// salt is that of the digests in the request's manifests; nil if they have none yet.
	salt []byte
	// EventSource and EventID name the event that brought the request, if one did.
	EventSource, EventID string
}

// Receipt is what became of a submission.
type Receipt struct {
	TaskID    uuid.UUID
	Status    api.TaskStatus
	CreatedAt time.Time
	// Token is good for the task until it ends; empty if none was asked for or
	// the task has ended.
	Token string
	// Repeated is whether the task was there before.
	Repeated bool
	// RetryOf is the task that this one runs again, if it does.
	RetryOf *uuid.UUID
}

// Submitter takes tasks in.
type Submitter struct {
	outbox *outbox.Outbox
	policy *policy.Store
}

// Submit stores a task and announces it with task.submitted. A submission with
// a key that the caller used before changes nothing and gets the task of then,
// or problem.ErrInvalid if it asked for something else. What the policy denies is
// problem.ErrForbidden; what it has approved first waits for that.
func (s *Submitter) Submit(ctx context.Context, submission Submission) (receipt Receipt, err error) {
	ctx, span := telemetry.Start(ctx, "submit")
	defer telemetry.End(span, &err)
	if err := checkAgent(submission.Request.Agent); err != nil {
		return Receipt{}, err
	}
	inForce, _, err := s.policy.Current(ctx)
	if err != nil {
		return Receipt{}, err
	}
	task, err := newTask(ctx, inForce, submission)
	if err != nil {
		return Receipt{}, err
	}
	err = s.outbox.Transact(ctx, func(tx *outbox.Tx) error {
		created, err := tx.InsertSubmission(ctx, task.row)
		if err != nil {
			return fmt.Errorf("store task: %w", err)
		}
		if len(created) == 0 {
			receipt, err = repeat(ctx, tx, task)
			return err
		}
		receipt = Receipt{TaskID: task.row.ID, Status: api.TaskStatus(task.row.Status), CreatedAt: created[0], Token: task.token}
		receipt.RetryOf = task.row.RetryOf
		tx.Announce(task.submitted(ctx, submission, created[0]))
		task.announceApprovals(ctx, tx)
		return memory.Write(ctx, tx.Queries, task.memory, task.parts...)
	})
	return receipt, err
}

// repeat answers a submission whose key was used before.
func repeat(ctx context.Context, tx *outbox.Tx, task *newTaskRows) (Receipt, error) {
	first, err := tx.FindSubmission(ctx, task.row.Caller, task.row.IdempotencyKey)
	if err != nil {
		return Receipt{}, fmt.Errorf("find the task of a repeated submission: %w", err)
	}
	if !bytes.Equal(first.RequestDigest, task.row.RequestDigest) {
		return Receipt{}, errKeyReused(first.ID)
	}
	receipt := Receipt{TaskID: first.ID, Status: api.TaskStatus(first.Status), CreatedAt: first.CreatedAt, Repeated: true}
	receipt.RetryOf = task.row.RetryOf
	if first.Ended || task.token == "" {
		return receipt, nil
	}
	receipt.Token = task.token
	if err := tx.ReplaceOldSubmitterTokens(ctx, task.row.TokenHash, first.ID, keptTokens-1); err != nil {
		return Receipt{}, fmt.Errorf("store a token of task %s: %w", first.ID, err)
	}
	return receipt, nil
}

func errKeyReused(task uuid.UUID) error {
	return problem.ErrInvalid.Fields(problem.FieldError{Pointer: pointerKey,
		Detail: fmt.Sprintf("was used before for task %s with another request: send that request, or another key", task)})
}

// submitted announces the task.
func (t *newTaskRows) submitted(ctx context.Context, by Submission, createdAt time.Time) event.Event {
	return event.NewTask(ctx, event.TypeTaskSubmitted, event.SourceSubmit, t.row.ID, event.TaskSubmitted{
		TaskID: t.row.ID, Caller: t.row.Caller, Priority: int(t.row.Priority),
		Namespaces: t.row.Namespaces, Tags: t.row.Tags, CreatedAt: createdAt.UTC(),
		RequestSource: by.EventSource, RequestID: by.EventID,
	})
}

// newTaskRows is a task as it will be stored, if its key is free.
type newTaskRows struct {
	row    query.InsertSubmissionParams
	memory memory.Task
	parts  []memory.Part
	token  string
	// approvals are those that the task waits for.
	approvals []approvalRow
}
