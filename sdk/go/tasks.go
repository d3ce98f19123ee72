package graf

import (
	"context"
	"iter"
	"time"

	"github.com/google/uuid"
)

// actionTime is the minute that Graf gives actions besides the wait, and some for the way.
const actionTime = 75 * time.Second

// Ended says whether a task in this status stays in it.
func (s TaskStatus) Ended() bool {
	switch s {
	case TaskStatusSucceeded, TaskStatusFailed, TaskStatusCancelled, TaskStatusTimedOut:
		return true
	default:
		return false
	}
}

// Submit submits a task. If the submission has no idempotency key it is given a
// random one, so that trying again makes one task only. Errors: ErrInvalid,
// ErrUnauthorized, ErrForbidden (the policy), ErrTooLarge, ErrRateLimited,
// ErrUnavailable.
func (c *Client) Submit(ctx context.Context, submission TaskSubmission) (TaskCreated, error) {
	if submission.IdempotencyKey == "" {
		submission.IdempotencyKey = uuid.NewString()
	}
	var created TaskCreated
	return created, c.do(ctx, call{operation: operationSubmitTask, body: submission}, &created)
}

// Task is everything about one task.
func (c *Client) Task(ctx context.Context, id uuid.UUID) (Task, error) {
	var task Task
	return task, c.do(ctx, call{operation: operationGetTask, arguments: []any{id}}, &task)
}

// TaskPage is one page of the tasks, newest first; its NextCursor is the Cursor of
// the next page's parameters, "" on the last.
func (c *Client) TaskPage(ctx context.Context, params ListTasksParams) (TaskPage, error) {
	var page TaskPage
	return page, c.do(ctx, call{operation: operationListTasks, query: encode(params)}, &page)
}

// Tasks are all tasks that fit the parameters, newest first, read page by page.
// An error is the last that is yielded.
func (c *Client) Tasks(ctx context.Context, params ListTasksParams) iter.Seq2[TaskSummary, error] {
	return pages(params.Cursor, func(cursor string) ([]TaskSummary, string, error) {
		params.Cursor = cursor
		page, err := c.TaskPage(ctx, params)
		return page.Tasks, page.NextCursor, err
	})
}

// pages yields what is on each page from the one at the cursor to the last.
func pages[T any](cursor string, read func(cursor string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for next := cursor; ; {
			items, following, err := read(next)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if following == "" {
				return
			}
			next = following
		}
	}
}

// Cancel cancels a task: a queued one at once, a running one soon. The reason, which
// may be empty, is kept for the audit trail. A task that has ended otherwise is an
// ErrConflict.
func (c *Client) Cancel(ctx context.Context, id uuid.UUID, reason string) (TaskCancelled, error) {
	var cancelled TaskCancelled
	body := TaskCancellation{Reason: reason}
	return cancelled, c.do(ctx, call{operation: operationCancelTask, arguments: []any{id}, body: body}, &cancelled)
}

// Retry runs an ended task again, as a new task. If the request has no idempotency
// key it is given a random one. A task that has not ended, or that succeeded without
// Force, is an ErrConflict.
func (c *Client) Retry(ctx context.Context, id uuid.UUID, request TaskRetry) (TaskCreated, error) {
	if request.IdempotencyKey == "" {
		request.IdempotencyKey = uuid.NewString()
	}
	var created TaskCreated
	return created, c.do(ctx, call{operation: operationRetryTask, arguments: []any{id}, body: request}, &created)
}

// Wait waits until the task has ended, and gives it. Its status tells how.
func (c *Client) Wait(ctx context.Context, id uuid.UUID) (Task, error) {
	for _, err := range c.Follow(ctx, id, 0) {
		if err != nil {
			return Task{}, err
		}
	}
	return c.patient().Task(ctx, id)
}

// DecideApproval approves or rejects what a task waits for. The same decision again
// is no error, another one is an ErrConflict; who may not decide gets ErrForbidden.
func (c *Client) DecideApproval(ctx context.Context, task, approval uuid.UUID, decision ApprovalDecision) (Approval, error) {
	var decided Approval
	return decided, c.do(ctx, call{operation: operationDecideApproval, arguments: []any{task, approval}, body: decision}, &decided)
}

// Undo takes back what a finished task changed, or with dryRun shows what would be
// done. It may go on after the answer: the task's Undos show what becomes of it.
func (c *Client) Undo(ctx context.Context, id uuid.UUID, dryRun bool) (Undo, error) {
	var undo Undo
	return undo, c.do(ctx, call{operation: operationUndoTask, arguments: []any{id}, body: UndoRequest{DryRun: dryRun}}, &undo)
}

// Act reads or changes resources of the cluster, with the token of a running task.
// What became of each action, a refusal included, is among the results. A try is given
// the minute that Graf may take, and WaitSeconds, if [Options].Timeout is less.
func (c *Client) Act(ctx context.Context, id uuid.UUID, request ActionRequest) (ActionResults, error) {
	patient := *c
	patient.timeout = max(c.timeout, actionTime+time.Duration(request.WaitSeconds)*time.Second)
	var results ActionResults
	return results, patient.do(ctx, call{operation: operationPostTaskActions, arguments: []any{id}, body: request}, &results)
}

// ExplainPolicy tells what the policy says of an action or an execution, without
// doing it.
func (c *Client) ExplainPolicy(ctx context.Context, question PolicyQuestion) (PolicyAnswer, error) {
	var answer PolicyAnswer
	return answer, c.do(ctx, call{operation: operationExplainPolicy, body: question}, &answer)
}
