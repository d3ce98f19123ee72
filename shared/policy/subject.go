package policy

import "k8s.io/apimachinery/pkg/util/json"

// Task is on whose behalf something is done.
type Task struct {
	// Caller is the name of who submitted it.
	Caller string
	// Project is what it belongs to; "" for none.
	Project string
	// ID is its id; "" before it has one.
	ID string
	// Tags are those it was submitted with.
	Tags []string
	// Priority is 0 to 9.
	Priority int
	// Mode is its orchestration mode.
	Mode string
}

func (t Task) variables() map[string]any {
	return map[string]any{
		"id": t.ID, "tags": t.Tags, "priority": int64(t.Priority), "mode": t.Mode,
	}
}

// Resource names a Kubernetes resource. Namespace is "" for one of the whole cluster, Name "" for all of a kind.
type Resource struct {
	APIGroup  string `json:"apiGroup"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// String is for people: "Deployment web/shop".
func (r Resource) String() string {
	name := r.Name
	if name == "" {
		name = "(all)"
	}
	if r.Namespace != "" {
		name = r.Namespace + "/" + name
	}
	kind := r.Kind
	if r.APIGroup != "" {
		kind += "." + r.APIGroup
	}
	return kind + " " + name
}

// variables has no name where all of a kind are meant: what a condition says of one of them cannot be told then.
func (r Resource) variables() map[string]any {
	variables := map[string]any{"apiGroup": r.APIGroup, "kind": r.Kind, "namespace": r.Namespace}
	if r.Name != "" {
		variables["name"] = r.Name
	}
	return variables
}

// Verbs of the Kubernetes API that a policy can allow, as RBAC has them.
const (
	VerbGet    = "get"
	VerbList   = "list"
	VerbWatch  = "watch"
	VerbCreate = "create"
	VerbUpdate = "update"
	VerbPatch  = "patch"
	VerbDelete = "delete"
)

// Verbs are all of them.
func Verbs() []string {
	return []string{VerbGet, VerbList, VerbWatch, VerbCreate, VerbUpdate, VerbPatch, VerbDelete}
}

// Object decodes a manifest for an Action: whole numbers are such, as Kubernetes reads them, which conditions count on.
func Object(text []byte) (map[string]any, error) {
	var object map[string]any
	err := json.Unmarshal(text, &object)
	return object, err
}

// Action is something that a task is about to do with a resource.
type Action struct {
	Task     Task
	Verb     string
	Resource Resource
	// Object is the manifest that is to be applied; nil for other verbs.
	Object map[string]any
	// Force is whether fields that others own are to be taken over.
	Force bool
}

// Execution is how a task's agent is to be run.
type Execution struct {
	Task           Task
	Image          string
	TimeoutSeconds int
	// Limits are quantities by the names of resources, as Kubernetes writes them.
	Limits map[string]string
	// Secrets are the names of those of which the agent is given keys.
	Secrets []string
}
