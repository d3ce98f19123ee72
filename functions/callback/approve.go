package callback

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
)

// decide asks the policy for each verb and settles the step at the first that it does
// not allow. It returns the decisions that wait for an approval.
func (w *work) decide(s *step, verbs ...string) (needed []policy.Decision) {
	for _, verb := range verbs {
		action := policy.Action{Task: w.task, Verb: verb, Resource: s.resource(), Object: s.content}
		// Reading forces nothing.
		action.Force = w.request.Force && verb != policy.VerbGet && verb != policy.VerbWatch
		decision := w.policy.Decide(action)
		if decision.Approval != nil {
			needed = append(needed, decision)
		}
		s.result.Decision = decisionOf(decision)
		if !decision.Allowed && decision.Approval == nil {
			s.settle(api.ActionOutcomeRefused, decision.Reason)
			return nil
		}
	}
	if len(needed) > 0 {
		s.result.Decision = decisionOf(needed[0])
	}
	return needed
}

func decisionOf(d policy.Decision) api.PolicyDecision {
	decision := api.PolicyDecision{Allowed: d.Allowed, Rule: d.Rule, Line: d.Line, Reason: d.Reason, PolicyVersion: d.Version}
	if d.Approval != nil {
		decision.Approval = &api.ApprovalNeeded{Approvers: d.Approval.Approvers, Reason: d.Approval.Reason}
	}
	return decision
}

// approve settles the step unless somebody has approved it whom the policy in force
// names for it. A dry run looks for an approval and asks for none unless it is told to.
func (w *work) approve(ctx context.Context, s *step, verb string, needed []policy.Decision) error {
	if len(needed) == 0 {
		return nil
	}
	approval, err := w.approval(ctx, s, verb, needed[0])
	if errors.Is(err, pgx.ErrNoRows) {
		s.settle(api.ActionOutcomeAwaitingApproval, needed[0].Reason)
		return nil
	}
	if errors.Is(err, errManyApprovals) {
		s.settle(api.ActionOutcomeRefused, fmt.Sprintf(
			"It needs an approval, and %d of the task are open, which is the most: have some decided first.", w.maxApprovals))
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for an approval of task %s: %w", w.taskID, postgres.Classify(err))
	}
	s.result.ApprovalID = &approval.ID
	switch {
	case approval.Decision == nil:
		s.settle(api.ActionOutcomeAwaitingApproval, needed[0].Reason)
		return nil
	case *approval.Decision != string(api.ApprovalVerdictApproved):
		s.settle(api.ActionOutcomeRefused, decided("rejected", approval))
		return nil
	}
	for _, decision := range needed {
		if !decision.Approval.By(*approval.DecidedBy) {
			s.settle(api.ActionOutcomeRefused, decided("approved", approval)+"; the policy in force asks for one of "+
				strings.Join(decision.Approval.Approvers, ", "))
			return nil
		}
	}
	s.result.Decision.Allowed = true
	s.result.Decision.Reason += "; " + decided("approved", approval)
	return nil
}

func decided(how string, approval query.Approval) string {
	text := how + " by " + *approval.DecidedBy
	if approval.Comment != nil && *approval.Comment != "" {
		text += ": " + *approval.Comment
	}
	return text
}

// approval finds the request for one, and makes it if this is no dry run, or one that is to ask. pgx.ErrNoRows: there is none that counts.
func (w *work) approval(ctx context.Context, s *step, verb string, needed policy.Decision) (found query.Approval, err error) {
	subject, err := w.subject(s, verb)
	if err != nil {
		return query.Approval{}, err
	}
	found, err = query.New(w.pool).FindApproval(ctx, w.taskID, subject)
	if err == nil && superseded(found, needed) {
		err = pgx.ErrNoRows
	}
	if w.request.DryRun && !w.request.RequestApproval || !errors.Is(err, pgx.ErrNoRows) && (err != nil || !readdressed(found, needed)) {
		return found, err
	}
	err = w.outbox.Transact(ctx, func(tx *outbox.Tx) error {
		if _, err := tx.LockTask(ctx, w.taskID); err != nil {
			return err
		}
		var asked bool
		if found, asked, err = w.requestApproval(ctx, tx.Queries, subject, w.description(s, verb), needed); err != nil || !asked {
			return err
		}
		tx.Announce(event.NewTask(ctx, event.TypeApprovalRequested, event.SourceCallback, w.taskID, event.ApprovalRequested{
			TaskID: w.taskID, ApprovalID: found.ID, Description: found.Description, Rule: found.Rule,
			Approvers: found.Approvers, Reason: found.Reason,
		}))
		return nil
	})
	return found, err
}

// requestApproval has an approval asked for of those whom the policy in force names, unless it is. asked: it was not.
func (w *work) requestApproval(
	ctx context.Context, q *query.Queries, subject, description string, needed policy.Decision,
) (found query.Approval, asked bool, err error) {
	found, err = q.FindApproval(ctx, w.taskID, subject)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return found, false, err
	case superseded(found, needed):
		if err := q.SupersedeApproval(ctx, found.ID); err != nil {
			return found, false, err
		}
	case readdressed(found, needed):
		found, err = q.ReaddressApproval(ctx, query.ReaddressApprovalParams{
			ID: found.ID, Rule: needed.Rule, PolicyVersion: needed.Version,
			Approvers: needed.Approval.Approvers, Reason: needed.Approval.Reason,
		})
		return found, true, err
	default:
		return found, false, nil
	}
	open, err := q.CountOpenApprovals(ctx, w.taskID)
	if err == nil && open >= int64(w.maxApprovals) {
		err = errManyApprovals
	}
	if err != nil {
		return query.Approval{}, false, err
	}
	found, err = q.RequestApproval(ctx, query.RequestApprovalParams{
		ID: uuid.Must(uuid.NewV7()), TaskID: w.taskID, Subject: subject, Description: description,
		Rule: needed.Rule, PolicyVersion: needed.Version, Approvers: needed.Approval.Approvers, Reason: needed.Approval.Reason,
	})
	return found, true, err
}

// errManyApprovals says that no more approvals can be asked for until some are decided.
var errManyApprovals = errors.New("the task has too many open approvals")

// superseded tells of an approval by somebody whom the policy in force does not name any more: it is asked for anew.
func superseded(a query.Approval, needed policy.Decision) bool {
	return a.Decision != nil && *a.Decision == string(api.ApprovalVerdictApproved) && !needed.Approval.By(*a.DecidedBy)
}

// readdressed tells of a request that nobody has decided, for others to decide than the policy in force names.
func readdressed(a query.Approval, needed policy.Decision) bool {
	return a.Decision == nil && !slices.Equal(a.Approvers, needed.Approval.Approvers)
}

// subject names the action, so that what is approved is what is done: not another
// verb, nor force, nor a manifest that differs anywhere. That is why it is of the
// whole manifest rather than of its canonical form, which leaves out a status and
// annotations; and why it is salted: it must not tell what data a Secret has.
func (w *work) subject(s *step, verb string) (string, error) {
	text, err := json.Marshal(struct {
		Verb     string         `json:"verb"`
		Resource manifest.Ref   `json:"resource"`
		Force    bool           `json:"force"`
		Manifest map[string]any `json:"manifest"`
	}{verb, s.ref.Identity(), w.request.Force && verb != policy.VerbGet, s.content})
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, w.salt)
	_, _ = mac.Write(text) // a hash takes everything
	return "sha256:" + hex.EncodeToString(mac.Sum(nil)), nil
}

// description tells an approver what is to be done.
func (w *work) description(s *step, verb string) string {
	text := verb + " " + s.ref.String()
	if w.request.Force && verb != policy.VerbGet {
		text += ", taking over fields that others own"
	}
	if s.summary != "" {
		text += "\n" + s.summary
	}
	return postgres.Text(text)
}
