package callback

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/manifest"
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

// approval finds the request for one, and makes it if this is no dry run, or one that is to ask.
func (w *work) approval(ctx context.Context, s *step, verb string, needed policy.Decision) (query.Approval, error) {
	subject, err := w.subject(s, verb)
	if err != nil {
		return query.Approval{}, err
	}
	if w.request.DryRun && !w.request.RequestApproval {
		return query.New(w.pool).FindApproval(ctx, w.taskID, subject)
	}
	return query.New(w.pool).RequestApproval(ctx, query.RequestApprovalParams{
		ID: uuid.Must(uuid.NewV7()), TaskID: w.taskID, Subject: subject, Description: w.description(s, verb),
		Rule: needed.Rule, PolicyVersion: needed.Version, Approvers: needed.Approval.Approvers, Reason: needed.Approval.Reason,
	})
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
