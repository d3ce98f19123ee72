package submit

import (
	"encoding/json"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/grant"
)

// showPolicy shows what let the task run, what it may do, what it waited for, and how it was taken back.
func (d *details) showPolicy(task *api.Task) error {
	if d.task.PolicyVersion != nil {
		grants, err := grantsOf(d.task.Grants)
		if err != nil {
			return err
		}
		task.Policy = &api.PolicyEntry{Rule: d.task.PolicyRule, PolicyVersion: *d.task.PolicyVersion, Grants: grants}
	}
	for _, row := range d.approvals {
		task.Approvals = append(task.Approvals, approvalOf(row))
	}
	for _, row := range d.undos {
		undo, err := undoOf(row)
		if err != nil {
			return err
		}
		task.Undos = append(task.Undos, undo)
	}
	return nil
}

func grantsOf(stored json.RawMessage) ([]api.Grant, error) {
	grants, err := grant.Parse(stored)
	if err != nil {
		return nil, err
	}
	shown := make([]api.Grant, len(grants))
	for i, g := range grants {
		shown[i] = api.Grant{
			Resource: api.ResourceReference{
				APIVersion: g.APIVersion, Kind: g.Kind, Namespace: g.Namespace, Name: g.Name, LabelSelector: g.LabelSelector,
			},
			Verbs: verbsOf(g.Verbs), Checked: verbsOf(g.Checked),
		}
	}
	return shown, nil
}

func verbsOf(verbs []string) []api.KubernetesVerb {
	shown := make([]api.KubernetesVerb, len(verbs))
	for i, verb := range verbs {
		shown[i] = api.KubernetesVerb(verb)
	}
	return shown
}
