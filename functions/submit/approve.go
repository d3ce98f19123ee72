package submit

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// Approver takes the decisions of those whom a policy asks.
type Approver struct{ outbox *outbox.Outbox }

// Decide notes a caller's decision about what a task waits for, and announces it with approval.decided. A task that
// waits for nothing else then waits for a slot; one whose run, or manifest, is rejected is cancelled. The same decision
// again changes nothing. It fails with problem.ErrNotFound; problem.ErrForbidden for a caller whom the policy does not
// name, and for the task's own; problem.ErrConflict if it was decided otherwise or the task has ended.
func (a *Approver) Decide(ctx context.Context, task, approval uuid.UUID, caller string, d api.ApprovalDecision) (api.Approval, error) {
	var decided query.Approval
	err := a.outbox.Transact(ctx, func(tx *outbox.Tx) error {
		row, err := tx.LockTask(ctx, task)
		if errors.Is(err, pgx.ErrNoRows) {
			return errNoTask(task)
		}
		if err != nil {
			return fmt.Errorf("lock task %s: %w", task, err)
		}
		asked, err := tx.LockApproval(ctx, approval, task)
		if errors.Is(err, pgx.ErrNoRows) {
			return problem.ErrNotFound.With("Task %s waits for no approval %s.", task, approval)
		}
		if err != nil {
			return fmt.Errorf("lock approval %s: %w", approval, err)
		}
		if decided, err = asked, mayDecide(row, asked, caller, d.Decision); err != nil || asked.Decision != nil {
			return err
		}
		decided, err = tx.DecideApproval(ctx, query.DecideApprovalParams{
			ID: approval, Decision: string(d.Decision), DecidedBy: caller, Comment: optional(d.Comment),
		})
		if err != nil {
			return fmt.Errorf("decide approval %s: %w", approval, err)
		}
		tx.Announce(event.NewTask(ctx, event.TypeApprovalDecided, event.SourceSubmit, task, event.ApprovalDecided{
			TaskID: task, ApprovalID: approval, Decision: string(d.Decision), DecidedBy: caller,
		}))
		return goOn(ctx, tx, row, decided)
	})
	return approvalOf(decided), err
}

// mayDecide tells why a caller may not make a decision, or nil.
func mayDecide(task query.Task, a query.Approval, caller string, verdict api.ApprovalVerdict) error {
	switch {
	case caller == task.Caller:
		return problem.ErrForbidden.With("Caller %s submitted task %s and cannot approve it: another one has to.", caller, task.ID)
	case !policy.Approval{Approvers: a.Approvers}.By(caller):
		return problem.ErrForbidden.With("Rule %s of the policy lets one of %q decide this; caller %s is none of them.",
			a.Rule, a.Approvers, caller)
	case a.Decision != nil && *a.Decision != string(verdict):
		return problem.ErrConflict.With("Approval %s was %s by %s already.", a.ID, *a.Decision, text(a.DecidedBy))
	case a.Decision == nil && task.FinishedAt != nil:
		return problem.ErrConflict.With("Task %s has ended as %s; nothing waits for approval %s any more.", task.ID, task.Status, a.ID)
	}
	return nil
}

// goOn has a task that waits for approval do so no longer if it need not. An action of a running task is sent again
// by whoever runs it.
func goOn(ctx context.Context, tx *outbox.Tx, task query.Task, decided query.Approval) error {
	switch {
	case api.TaskStatus(task.Status) != api.TaskStatusAwaitingApproval:
		return nil
	case *decided.Decision == string(api.ApprovalVerdictRejected):
		why := "approval to " + decided.Description + " was rejected"
		if comment := text(decided.Comment); comment != "" {
			why += ": " + comment
		}
		return cancelQueued(ctx, tx, task, *decided.DecidedBy, why)
	}
	if err := tx.ReleaseTask(ctx, actor, task.ID); err != nil {
		return fmt.Errorf("release task %s: %w", task.ID, err)
	}
	return nil
}

func approvalOf(row query.Approval) api.Approval {
	return api.Approval{
		ApprovalID: row.ID, TaskID: row.TaskID, Description: row.Description, Rule: row.Rule, Approvers: row.Approvers,
		Reason: row.Reason, RequestedAt: row.RequestedAt.UTC(), Decision: api.ApprovalVerdict(text(row.Decision)),
		DecidedBy: text(row.DecidedBy), DecidedAt: utc(row.DecidedAt), Comment: text(row.Comment),
	}
}
