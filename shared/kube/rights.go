package kube

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	serviceAccounts     = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	roles               = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}
	roleBindings        = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}
	clusterRoles        = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}
	clusterRoleBindings = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
)

// Right is what may be done with one resource, or with all of its kind where it has no name.
type Right struct {
	APIVersion string
	Kind       string
	Namespace  string
	Name       string
	Verbs      []string
}

// RightsSpec is the identity of an attempt, and what it may do.
type RightsSpec struct {
	TaskID  string
	Attempt int
	// Namespace is where the service account is: that of the execution.
	Namespace string
	// Suffix tells the attempt's identities apart: "" is the container's own.
	Suffix string
	Rights []Right
}

// Name is that of the service account and of every role and binding.
func (s RightsSpec) Name() string { return JobName(s.TaskID, s.Attempt) + s.Suffix }

func (s RightsSpec) labels() map[string]any {
	return map[string]any{LabelTaskID: s.TaskID, LabelAttempt: strconv.Itoa(s.Attempt), LabelManagedBy: ManagedBy}
}

// Grant makes the service account and gives it the rights: a Role and a RoleBinding in each namespace, a ClusterRole for
// resources of the whole cluster. What exists is left as it is, so that it can be repeated. Kubernetes lets nobody grant
// what they may not do themselves: that is ErrForbidden.
func (c *Client) Grant(ctx context.Context, spec RightsSpec) error {
	rules, err := c.rules(ctx, spec.Rights)
	if err != nil {
		return err
	}
	objects := []*unstructured.Unstructured{spec.object("v1", "ServiceAccount", spec.Namespace, object{
		"automountServiceAccountToken": false,
	})}
	for _, in := range sortedKeys(rules) {
		objects = append(objects, spec.role(in, rules[in]), spec.binding(in))
	}
	for _, o := range objects {
		client := c.dynamic.Resource(rightsResource(o.GetKind())).Namespace(o.GetNamespace())
		_, err := client.Create(ctx, o, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return classify("create "+refOf(o).String(), err)
		}
	}
	return nil
}

// Revoke removes what Grant made for a task, in the namespaces given and in the whole cluster. What is gone is no error.
func (c *Client) Revoke(ctx context.Context, taskID string, namespaces []string) error {
	options := metav1.ListOptions{LabelSelector: LabelManagedBy + "=" + ManagedBy + "," + LabelTaskID + "=" + taskID}
	background := metav1.DeletePropagationBackground
	wholeCluster := []string{""}
	for _, from := range []struct {
		resource   schema.GroupVersionResource
		namespaces []string
	}{ // Bindings go first: without them the rest gives no rights.
		{clusterRoleBindings, wholeCluster},
		{roleBindings, namespaces},
		{clusterRoles, wholeCluster},
		{roles, namespaces},
		{serviceAccounts, namespaces},
	} {
		for _, namespace := range from.namespaces {
			err := c.dynamic.Resource(from.resource).Namespace(namespace).
				DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, options)
			if err != nil && !apierrors.IsNotFound(err) {
				return classify(fmt.Sprintf("delete the %s of task %s in %q", from.resource.Resource, taskID, namespace), err)
			}
		}
	}
	return nil
}

// rules are the RBAC rules by namespace; "" is the whole cluster.
func (c *Client) rules(ctx context.Context, rights []Right) (map[string][]any, error) {
	rules := map[string][]any{}
	for _, r := range rights {
		if len(r.Verbs) == 0 {
			continue
		}
		mapping, err := c.Resolve(ctx, r.APIVersion, r.Kind)
		if err != nil {
			return nil, fmt.Errorf("rights on %s %s: %w", r.Kind, r.Name, err)
		}
		if mapping.Namespaced != (r.Namespace != "") {
			return nil, fmt.Errorf("rights on %s %s: %w: namespaced is %t, but the namespace is %q",
				r.Kind, r.Name, ErrInvalid, mapping.Namespaced, r.Namespace)
		}
		rule := object{
			"apiGroups": []any{mapping.Resource.Group}, "resources": []any{mapping.Resource.Resource}, "verbs": texts(r.Verbs),
		}
		if r.Name != "" {
			rule["resourceNames"] = []any{r.Name}
		}
		rules[r.Namespace] = append(rules[r.Namespace], rule)
	}
	return rules, nil
}

func (s RightsSpec) object(apiVersion, kind, namespace string, content object) *unstructured.Unstructured {
	metadata := object{"name": s.Name(), "labels": s.labels()}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	content["apiVersion"], content["kind"], content["metadata"] = apiVersion, kind, metadata
	return &unstructured.Unstructured{Object: content}
}

const rbacVersion = "rbac.authorization.k8s.io/v1"

func (s RightsSpec) role(namespace string, rules []any) *unstructured.Unstructured {
	return s.object(rbacVersion, prefix(namespace)+"Role", namespace, object{"rules": rules})
}

func (s RightsSpec) binding(namespace string) *unstructured.Unstructured {
	return s.object(rbacVersion, prefix(namespace)+"RoleBinding", namespace, object{
		"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": prefix(namespace) + "Role", "name": s.Name()},
		"subjects": []any{object{"kind": "ServiceAccount", "name": s.Name(), "namespace": s.Namespace}},
	})
}

func prefix(namespace string) string {
	if namespace == "" {
		return "Cluster"
	}
	return ""
}

func rightsResource(kind string) schema.GroupVersionResource {
	return map[string]schema.GroupVersionResource{
		"ServiceAccount": serviceAccounts, "Role": roles, "RoleBinding": roleBindings,
		"ClusterRole": clusterRoles, "ClusterRoleBinding": clusterRoleBindings,
	}[kind]
}

func sortedKeys(m map[string][]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func texts(list []string) []any {
	values := make([]any, len(list))
	for i, text := range list {
		values[i] = text
	}
	return values
}
