package submit

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/problem"
)

// subjectTask is the subject of an approval that is about running the task; one that is about applying a manifest has
// the manifest's digest and the entry that asks for it.
const subjectTask = "task"

// approvalRow is an approval that a task waits for, as InsertSubmission takes it.
type approvalRow struct {
	ID          uuid.UUID `json:"id"`
	Subject     string    `json:"subject"`
	Description string    `json:"description"`
	Rule        string    `json:"rule"`
	Approvers   []string  `json:"approvers"`
	Reason      string    `json:"reason"`
}

// ask has the policy decide about a submission: whether its agent may run, whether its manifests may be applied, and
// what it may do with the resources that it names. What is denied is problem.ErrForbidden, with each bad field.
func (t *newTaskRows) ask(p *policy.Policy, request api.TaskSubmission, applied []manifest.Object) error {
	about := t.about()
	var denied []problem.FieldError
	consider := func(pointer, subject, description string, d policy.Decision) {
		switch {
		case d.Approval != nil:
			t.approvals = append(t.approvals, approvalRow{
				ID: uuid.Must(uuid.NewV7()), Subject: subject, Description: description,
				Rule: d.Rule, Approvers: d.Approval.Approvers, Reason: d.Approval.Reason,
			})
		case !d.Allowed:
			denied = append(denied, problem.FieldError{Pointer: pointer, Detail: d.Reason})
		}
	}
	run := p.Execute(policy.Execution{
		Task: about, Image: request.Agent.Image, TimeoutSeconds: *request.TimeoutSeconds, Limits: request.Agent.Limits,
		Secrets: secretsOf(request.Agent),
	})
	consider("/agent", subjectTask, "run the task", run)
	t.row.PolicyRule, t.row.PolicyVersion = run.Rule, optional(p.Version)
	for i, object := range applied {
		decisions, err := decideApply(p, about, object)
		if err != nil {
			return err
		}
		for _, d := range decisions {
			consider("/manifests/"+strconv.Itoa(i), object.Digest()+" "+d.Rule, "apply "+object.Ref.String(), d)
		}
	}
	if len(denied) > 0 {
		return problem.ErrForbidden.Fields(denied...)
	}
	return t.grant(p, request.TargetResources, applied)
}

// about is the task as policies see it.
func (t *newTaskRows) about() policy.Task {
	return policy.Task{
		Caller: t.row.Caller, Project: t.row.Project, ID: t.row.ID.String(), Tags: t.row.Tags,
		Priority: int(t.row.Priority), Mode: t.row.OrchestrationMode,
	}
}

// decideApply decides whether a manifest may be applied. Whether the resource exists by then is not known, so it must
// be allowed to be created and to be patched: there is a decision of each entry that has a say.
func decideApply(p *policy.Policy, about policy.Task, object manifest.Object) ([]policy.Decision, error) {
	content, err := policy.Object(object.JSON())
	if err != nil {
		return nil, fmt.Errorf("read %s back: %w", object.Ref, err)
	}
	action := policy.Action{Task: about, Verb: policy.VerbCreate, Resource: resourceOf(object.Ref), Object: content}
	create := p.Decide(action)
	action.Verb = policy.VerbPatch
	patch := p.Decide(action)
	if create.Rule == patch.Rule || !create.Allowed && create.Approval == nil {
		return []policy.Decision{create}, nil
	}
	return []policy.Decision{create, patch}, nil
}

// grant notes what the task may do with its target resources and with those that it applies.
func (t *newTaskRows) grant(p *policy.Policy, targets []api.ResourceReference, applied []manifest.Object) error {
	named := make([]grant.Target, 0, len(targets)+len(applied))
	for _, r := range targets {
		named = append(named, grant.Target{
			APIVersion: r.APIVersion, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, LabelSelector: r.LabelSelector,
		})
	}
	for _, object := range applied {
		named = append(named, grant.Target{
			APIVersion: object.Ref.APIVersion, Kind: object.Ref.Kind, Namespace: object.Ref.Namespace, Name: object.Ref.Name,
		})
	}
	grants, err := json.Marshal(p.Grants(t.about(), named))
	if err != nil {
		return fmt.Errorf("encode the grants: %w", err)
	}
	t.row.Grants = grants
	return nil
}

func resourceOf(ref manifest.Ref) policy.Resource {
	return policy.Resource{APIGroup: ref.Identity().APIVersion, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name}
}

// announceApprovals tells who might give the approvals that the task waits for.
func (t *newTaskRows) announceApprovals(ctx context.Context, tx *outbox.Tx) {
	for _, a := range t.approvals {
		tx.Announce(event.NewTask(ctx, event.TypeApprovalRequested, event.SourceSubmit, t.row.ID, event.ApprovalRequested{
			TaskID: t.row.ID, ApprovalID: a.ID, Description: a.Description, Rule: a.Rule,
			Approvers: a.Approvers, Reason: a.Reason,
		}))
	}
}

// addApplied takes the manifests that are to be applied before the first attempt. None may be a Secret, whose values
// would then be stored, or have a value that is stored as a digest, which would then be applied.
func (t *newTaskRows) addApplied(manifests []api.Manifest) ([]manifest.Object, error) {
	if len(manifests) == 0 {
		return nil, problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/apply", Detail: "is true, but there are no manifests to apply"})
	}
	objects, err := canonical(manifests, t.row.ManifestSalt)
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		if object.Ref.Kind == "Secret" && !strings.Contains(object.Ref.APIVersion, "/") {
			return nil, problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/manifests", Detail: fmt.Sprintf(
				"%s cannot be applied: Graf would have to store its values. Create it by other means and name it in targetResources.",
				object.Ref)})
		}
		if object.HidesValues() {
			return nil, problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/manifests", Detail: fmt.Sprintf(
				"%s cannot be applied: it has a value beside a secret name, of which Graf keeps a digest alone. Take it from a Secret.",
				object.Ref)})
		}
	}
	if t.row.ApplyManifests, err = json.Marshal(objects); err != nil {
		return nil, fmt.Errorf("encode manifests: %w", err)
	}
	return objects, nil
}
