// Package grant says what a task may do with the resources that it names, as the
// policy had it when the task was submitted. A task's Kubernetes rights are made
// of this. It is apart from package policy, so that a function which only acts on
// grants need not know how they are made.
package grant

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Target is a resource that a task names before it runs; or, without a name, all of a kind, in a namespace or the whole
// cluster, of which a label selector may choose.
type Target struct {
	APIVersion    string `json:"apiVersion"`
	Kind          string `json:"kind"`
	Namespace     string `json:"namespace,omitempty"`
	Name          string `json:"name,omitempty"`
	LabelSelector string `json:"labelSelector,omitempty"`
}

// Grant is what a task may do with one target, as far as that is known before it does it. Verbs are RBAC's.
type Grant struct {
	Target
	// Verbs are those that are allowed whatever the object is: the container itself may have them.
	Verbs []string `json:"verbs,omitempty"`
	// Checked are those that are allowed for some objects, or once approved: they are for the action service alone,
	// which asks the policy each time.
	Checked []string `json:"checked,omitempty"`
	// Unread is whether the target is not to be read without more ado: somebody has to approve that, or some of all that
	// it names are denied. It is in no snapshot then, which the agent is given.
	Unread bool `json:"unread,omitempty"`
}

// Reading is the verb that reads the target: get if it has a name, list if not.
func (g Grant) Reading() string {
	if g.Name == "" {
		return "list"
	}
	return "get"
}

// All are the verbs that are allowed in some way.
func (g Grant) All() []string { return slices.Concat(g.Verbs, g.Checked) }

// Parse reads stored grants.
func Parse(stored []byte) ([]Grant, error) {
	var grants []Grant
	if err := json.Unmarshal(stored, &grants); err != nil {
		return nil, fmt.Errorf("grants: %w", err)
	}
	return grants, nil
}

// Readable are the targets that may be read: those with a name by get, those without by list.
func Readable(grants []Grant) []Target {
	var targets []Target
	for _, g := range grants {
		if !g.Unread && slices.Contains(g.All(), g.Reading()) {
			targets = append(targets, g.Target)
		}
	}
	return targets
}

// Namespaces are those of the targets of which something is granted, each once, sorted; "" is the whole cluster.
func Namespaces(grants []Grant) []string {
	var namespaces []string
	for _, g := range grants {
		if len(g.All()) > 0 {
			namespaces = append(namespaces, g.Namespace)
		}
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces)
}
