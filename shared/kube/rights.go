package kube

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/graf-run/graf/shared/grant"
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

// ActionsSuffix ends the name of the identity that an attempt's actions are carried out as.
const ActionsSuffix = "-actions"

// Identities are those of an attempt: of its container, which may do what is granted whatever the object is, and of the
// actions that it asks for, which are decided one by one.
func Identities(taskID string, attempt int, namespace string, grants []grant.Grant) (container, actions RightsSpec) {
	container = RightsSpec{TaskID: taskID, Attempt: attempt, Namespace: namespace}
	actions = container
	actions.Suffix = ActionsSuffix
	for _, g := range grants {
		right := Right{APIVersion: g.APIVersion, Kind: g.Kind, Namespace: g.Namespace, Name: g.Name}
		if right.Verbs = g.Verbs; len(g.Verbs) > 0 {
			container.Rights = append(container.Rights, right)
		}
		if right.Verbs = g.All(); len(right.Verbs) > 0 {
			actions.Rights = append(actions.Rights, right)
		}
	}
	return container, actions
}

// Grant makes the service accounts and gives them their rights: a Role and a RoleBinding in each namespace, a ClusterRole
// for resources of the whole cluster. Accounts that may do the same share those, which have the first one's name: each
// object more is a request more before a task starts. What exists is left as it is, so that it can be repeated.
// Kubernetes lets nobody grant what they may not do themselves: that is ErrForbidden. Where nothing fails but for namespaces
// that are not there, all the rest is granted, and the error is a *MissingError.
func (c *Client) Grant(ctx context.Context, specs ...RightsSpec) error {
	return c.grant(ctx, c.ensure, specs)
}

// GrantAnew is Grant for identities that were granted their rights before the kinds or namespaces of some were there: what
// exists is brought up to date.
func (c *Client) GrantAnew(ctx context.Context, specs ...RightsSpec) error {
	return c.grant(ctx, c.renew, specs)
}

// MissingError says of which namespaces there are none to grant rights in. It is of kind ErrNotFound.
type MissingError struct{ Namespaces []string }

// Error names them.
func (e *MissingError) Error() string {
	return fmt.Sprintf("grant rights: %v: there is no namespace %s", ErrNotFound, strings.Join(e.Namespaces, ", "))
}

// Unwrap is ErrNotFound.
func (e *MissingError) Unwrap() error { return ErrNotFound }

// grant makes what the specs take, the roles by makeRole.
func (c *Client) grant(
	ctx context.Context, makeRole func(context.Context, *unstructured.Unstructured) error, specs []RightsSpec,
) error {
	var group errgroup.Group // that lets what is under way go on, as Snapshot does
	var missing namespaceSet
	for _, alike := range groupByRights(specs) {
		first := alike[0]
		rules, err := c.rules(ctx, first.Rights)
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		for _, spec := range alike {
			group.Go(func() error { return c.ensure(ctx, spec.account()) })
		}
		for in, list := range rules {
			group.Go(func() error {
				// The role goes first: who may not bind any role is asked for the rights of this one.
				err := makeRole(ctx, first.role(in, list))
				if in != "" && errors.Is(err, ErrNotFound) {
					missing.add(in)
					return nil
				}
				if err != nil {
					return err
				}
				return c.ensure(ctx, first.binding(in, alike))
			})
		}
	}
	if err := group.Wait(); err != nil || len(missing.names) == 0 {
		return err
	}
	slices.Sort(missing.names)
	return &MissingError{Namespaces: slices.Compact(missing.names)}
}

// namespaceSet is filled by several at a time.
type namespaceSet struct {
	mutex sync.Mutex
	names []string
}

func (s *namespaceSet) add(name string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.names = append(s.names, name)
}

func groupByRights(specs []RightsSpec) [][]RightsSpec {
	var groups [][]RightsSpec
	for _, spec := range specs {
		at := slices.IndexFunc(groups, func(group []RightsSpec) bool { return reflect.DeepEqual(group[0].Rights, spec.Rights) })
		if at < 0 {
			groups = append(groups, []RightsSpec{spec})
			continue
		}
		groups[at] = append(groups[at], spec)
	}
	return groups
}

// ensure creates an object unless there is one of its name.
func (c *Client) ensure(ctx context.Context, o *unstructured.Unstructured) error {
	_, err := c.dynamic.Resource(rightsResource(o.GetKind())).Namespace(o.GetNamespace()).Create(ctx, o, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return classify("create "+refOf(o).String(), err)
}

// renew creates a role, or has the one of its name give the same.
func (c *Client) renew(ctx context.Context, role *unstructured.Unstructured) error {
	client := c.dynamic.Resource(rightsResource(role.GetKind())).Namespace(role.GetNamespace())
	_, err := client.Create(ctx, role, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = client.Update(ctx, role, metav1.UpdateOptions{})
	}
	return classify("grant anew "+refOf(role).String(), err)
}

// Revoke removes what Grant made for an attempt: the service accounts in one namespace, and what gave them rights in the
// others, of which "" is the whole cluster. What is gone is no error. One namespace in which the caller may do nothing, and so
// has given nothing, does not keep the rights in the others; it is ErrForbidden in the end. The service accounts are left,
// for another Revoke to be known by, if anything else went wrong.
func (c *Client) Revoke(ctx context.Context, taskID string, attempt int, accounts string, namespaces []string) error {
	options := metav1.ListOptions{LabelSelector: fmt.Sprintf("%s=%s,%s=%s,%s=%d",
		LabelManagedBy, ManagedBy, LabelTaskID, taskID, LabelAttempt, attempt)}
	remove := func(resource schema.GroupVersionResource, namespace string) error {
		background := metav1.DeletePropagationBackground
		err := c.dynamic.Resource(resource).Namespace(namespace).
			DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, options)
		if err != nil && !apierrors.IsNotFound(err) {
			return classify(fmt.Sprintf("delete the %s of task %s in %q", resource.Resource, taskID, namespace), err)
		}
		return nil
	}
	var failures []error
	for _, namespace := range namespaces {
		// Bindings go first: without them the rest gives no rights.
		resources := []schema.GroupVersionResource{roleBindings, roles}
		if namespace == "" {
			resources = []schema.GroupVersionResource{clusterRoleBindings, clusterRoles}
		}
		for _, resource := range resources {
			if err := remove(resource, namespace); err != nil {
				failures = append(failures, err)
			}
		}
	}
	if slices.ContainsFunc(failures, func(err error) bool { return !errors.Is(err, ErrForbidden) }) {
		return errors.Join(failures...)
	}
	return errors.Join(append(failures, remove(serviceAccounts, accounts))...)
}

// Disarm removes the service account of one identity, so that an agent which is told to end changes nothing more by itself: a
// token of an account that is gone is refused. The rest stays for Revoke, which knows an attempt by its other identity.
func (c *Client) Disarm(ctx context.Context, spec RightsSpec) error {
	// As a collection, which is what its callers may delete: see deploy/base/rights.
	err := c.dynamic.Resource(serviceAccounts).Namespace(spec.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{},
		metav1.ListOptions{FieldSelector: "metadata.name=" + spec.Name(), LabelSelector: LabelManagedBy + "=" + ManagedBy})
	if err != nil && !apierrors.IsNotFound(err) {
		return classify("delete service account "+spec.Namespace+"/"+spec.Name(), err)
	}
	return nil
}

// Identity is a service account that Grant made.
type Identity struct {
	TaskID  string
	Attempt int
}

// ListIdentities lists those that there are in a namespace, page by page.
func (c *Client) ListIdentities(ctx context.Context, namespace string) ([]Identity, error) {
	var found []Identity
	options := metav1.ListOptions{LabelSelector: LabelManagedBy + "=" + ManagedBy + "," + LabelTaskID, Limit: pageSize}
	for {
		page, err := c.dynamic.Resource(serviceAccounts).Namespace(namespace).List(ctx, options)
		if err != nil {
			return nil, classify("list service accounts", err)
		}
		for _, item := range page.Items {
			attempt, err := strconv.ParseInt(item.GetLabels()[LabelAttempt], 10, 16)
			if err != nil {
				continue // somebody else's
			}
			found = append(found, Identity{TaskID: item.GetLabels()[LabelTaskID], Attempt: int(attempt)})
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return found, nil
		}
	}
}

// rules are the RBAC rules by namespace; "" is the whole cluster.
func (c *Client) rules(ctx context.Context, rights []Right) (map[string][]any, error) {
	rules := map[string][]any{}
	for _, r := range rights {
		if len(r.Verbs) == 0 {
			continue
		}
		mapping, err := c.Resolve(ctx, r.APIVersion, r.Kind)
		if errors.Is(err, ErrNotFound) { // There is nothing to have a right to, yet.
			continue
		}
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

// account gets no token mounted: pods of Graf's ask for the one that they need.
func (s RightsSpec) account() *unstructured.Unstructured {
	return s.object("v1", "ServiceAccount", s.Namespace, object{"automountServiceAccountToken": false})
}

// binding binds the role of s to those who may do the same.
func (s RightsSpec) binding(namespace string, alike []RightsSpec) *unstructured.Unstructured {
	subjects := make([]any, len(alike))
	for i, subject := range alike {
		subjects[i] = object{"kind": "ServiceAccount", "name": subject.Name(), "namespace": subject.Namespace}
	}
	return s.object(rbacVersion, prefix(namespace)+"RoleBinding", namespace, object{
		"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": prefix(namespace) + "Role", "name": s.Name()},
		"subjects": subjects,
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

func texts(list []string) []any {
	values := make([]any, len(list))
	for i, text := range list {
		values[i] = text
	}
	return values
}
