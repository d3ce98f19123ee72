package submit

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/problem"
)

// explainPolicy says what the policy in force would decide. Nothing is done, and nothing audited.
func (h *handler) explainPolicy(w http.ResponseWriter, r *http.Request, caller string) error {
	if err := h.validator.Parameters(r, api.OperationExplainPolicy, nil); err != nil {
		return err
	}
	var question api.PolicyQuestion
	if err := h.validator.DecodeBody(r, api.OperationExplainPolicy, api.MaxSubmissionBytes, &question); err != nil {
		return err
	}
	p, fault, err := h.policy.Current(r.Context())
	if err != nil {
		return err
	}
	decision, err := explain(p, question, caller)
	if err != nil {
		return err
	}
	answer := api.PolicyAnswer{Decision: decisionOf(decision)}
	if fault != nil {
		answer.Fault = "The policy's file was not taken, the one before is in force: " + fault.Error()
	}
	api.Answer(w, r, http.StatusOK, answer)
	return nil
}

func explain(p *policy.Policy, q api.PolicyQuestion, caller string) (policy.Decision, error) {
	about := policy.Task{
		Caller: cmp.Or(q.Caller, caller), Project: q.Project, Tags: q.Tags, Priority: api.DefaultPriority,
		Mode: string(api.DefaultOrchestrationMode),
	}
	if q.Priority != nil {
		about.Priority = *q.Priority
	}
	if x := q.Execution; x != nil {
		about.Mode = cmp.Or(string(x.OrchestrationMode), about.Mode)
		seconds := api.DefaultTimeoutSeconds
		if x.TimeoutSeconds != nil {
			seconds = *x.TimeoutSeconds
		}
		return p.Execute(policy.Execution{
			Task: about, Image: x.Image, TimeoutSeconds: seconds, Limits: x.Limits, Secrets: x.Secrets,
		}), nil
	}
	action := policy.Action{
		Task: about, Verb: string(q.Action.Verb), Force: q.Action.Force, Resource: named(q.Action.Resource),
	}
	if q.Action.Object != nil {
		var err error
		if action.Object, err = policy.Object(q.Action.Object); err != nil {
			return policy.Decision{}, problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/action/object", Detail: "must be an object"})
		}
	}
	return p.Decide(action), nil
}

func named(r api.ResourceReference) policy.Resource {
	group, _, found := strings.Cut(r.APIVersion, "/")
	if !found {
		group = ""
	}
	return policy.Resource{APIGroup: group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}

func decisionOf(d policy.Decision) api.PolicyDecision {
	decision := api.PolicyDecision{
		Allowed: d.Allowed, Rule: d.Rule, Line: d.Line, Reason: d.Reason, PolicyVersion: d.Version,
	}
	if d.Approval != nil {
		decision.Approval = &api.ApprovalNeeded{Approvers: d.Approval.Approvers, Reason: d.Approval.Reason}
	}
	return decision
}
