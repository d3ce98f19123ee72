package kube_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	grants "github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kubetest"
	"github.com/graf-run/graf/shared/manifest"
)

// granted is what Grant makes, by where it is.
var granted = []struct {
	resource   schema.GroupVersionResource
	namespaced bool
}{
	{schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}, true},
	{schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}, true},
	{schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}, true},
	{schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}, false},
	{schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}, false},
}

// left counts what there is of a task's, by resource, over all namespaces.
func left(t *testing.T, cluster *kubetest.Cluster, taskID string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, kind := range granted {
		list, err := cluster.Dynamic.Resource(kind.resource).List(t.Context(), metav1.ListOptions{LabelSelector: kube.LabelTaskID + "=" + taskID})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) > 0 {
			counts[kind.resource.Resource] = len(list.Items)
		}
	}
	return counts
}

// grant gives rights to the identity of a new task's attempt, revoked at the test's end.
func grant(t *testing.T, cluster *kubetest.Cluster, client *kube.Client, rights ...kube.Right) (kube.RightsSpec, *kube.Client) {
	t.Helper()
	spec := kube.RightsSpec{TaskID: uuid.NewString(), Attempt: 1, Namespace: cluster.Namespace, Suffix: "-actions", Rights: rights}
	if err := client.Grant(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	namespaces := []string{cluster.Namespace}
	for _, r := range rights {
		if r.Namespace != "" {
			namespaces = append(namespaces, r.Namespace)
		}
	}
	t.Cleanup(func() {
		if err := client.Revoke(context.Background(), spec.TaskID, spec.Attempt, spec.Namespace, append(namespaces, "")); err != nil {
			t.Error(err)
		}
	})
	as, err := client.As(spec.Namespace, spec.Name())
	if err != nil {
		t.Fatal(err)
	}
	return spec, as
}

func TestGrantedRightsAndNoOthers(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client, ns, elsewhere := cluster.Client(t), cluster.Namespace, cluster.MakeNamespace(t)
	widgets := cluster.Define(t, false)
	resolveSoon(t, client, widgets)
	for _, name := range []string{"settings", "other"} {
		create(t, cluster, configMaps, strings.Replace(configMapText, "settings", name, 1))
		create(t, cluster, widgets.Resource, "apiVersion: "+widgets.APIVersion+"\nkind: Widget\nmetadata: {name: "+name+"}")
	}
	_, as := grant(t, cluster, client,
		kube.Right{APIVersion: "v1", Kind: "ConfigMap", Namespace: ns, Name: "settings", Verbs: []string{"get", "patch"}},
		kube.Right{APIVersion: "apps/v1", Kind: "Deployment", Namespace: ns, Verbs: []string{"get", "list", "create", "patch"}},
		kube.Right{APIVersion: "v1", Kind: "ConfigMap", Namespace: elsewhere, Verbs: []string{"list"}},
		kube.Right{APIVersion: widgets.APIVersion, Kind: "Widget", Name: "settings", Verbs: []string{"get"}},
		kube.Right{APIVersion: "v1", Kind: "Secret", Namespace: ns},
	)
	read := func(target kube.Target) func() error {
		return func() error { _, err := as.Snapshot(t.Context(), []kube.Target{target}, salt); return err }
	}
	apply := func(text string) func() error {
		return func() error {
			_, err := as.Apply(t.Context(), decode(t, ns, text), kube.ApplyOptions{FieldManager: "t", Force: true})
			return err
		}
	}
	for name, c := range map[string]struct {
		do   func() error
		want error
	}{
		"read the one":         {read(at("v1", "ConfigMap", ns, "settings", "")), nil},
		"apply the one":        {apply(configMapText), nil},
		"read another":         {read(at("v1", "ConfigMap", ns, "other", "")), kube.ErrForbidden},
		"apply another":        {apply(strings.Replace(configMapText, "settings", "other", 1)), kube.ErrForbidden},
		"list them":            {read(at("v1", "ConfigMap", ns, "", "")), kube.ErrForbidden},
		"list elsewhere":       {read(at("v1", "ConfigMap", elsewhere, "", "")), nil},
		"read elsewhere":       {read(at("v1", "ConfigMap", elsewhere, "settings", "")), kube.ErrForbidden},
		"make a Deployment":    {apply(deploymentText), nil},
		"list Deployments":     {read(at("apps/v1", "Deployment", ns, "", "")), nil},
		"read the cluster's":   {read(at(widgets.APIVersion, "Widget", "", "settings", "")), nil},
		"another cluster's":    {read(at(widgets.APIVersion, "Widget", "", "other", "")), kube.ErrForbidden},
		"a kind without verbs": {read(at("v1", "Secret", ns, "", "")), kube.ErrForbidden},
		"delete the one": {func() error {
			return as.Remove(t.Context(), manifest.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: ns, Name: "settings"}, kube.RemoveOptions{})
		}, kube.ErrForbidden},
		"grant itself more": {func() error {
			return as.Grant(t.Context(), kube.RightsSpec{TaskID: "t", Attempt: 1, Namespace: ns,
				Rights: []kube.Right{{APIVersion: "v1", Kind: "Secret", Namespace: ns, Verbs: []string{"get"}}}})
		}, kube.ErrForbidden},
		"act as another": {func() error {
			other, err := as.As(ns, "other")
			if err == nil {
				_, err = other.Snapshot(t.Context(), []kube.Target{at("v1", "ConfigMap", ns, "settings", "")}, salt)
			}
			return err
		}, kube.ErrForbidden},
	} {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestGrantTwiceAndRevoke(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client, ns, elsewhere := cluster.Client(t), cluster.Namespace, cluster.MakeNamespace(t)
	rights := []kube.Right{
		{APIVersion: "v1", Kind: "ConfigMap", Namespace: ns, Verbs: []string{"get"}},
		{APIVersion: "v1", Kind: "ConfigMap", Namespace: elsewhere, Verbs: []string{"get"}},
		{APIVersion: "v1", Kind: "Namespace", Name: ns, Verbs: []string{"get"}},
	}
	spec, as := grant(t, cluster, client, rights...)
	other, _ := grant(t, cluster, client, rights...)
	second := spec
	second.Attempt, second.Suffix = 2, ""
	for range 2 { // What is there is left.
		if err := client.Grant(t.Context(), second); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]int{"serviceaccounts": 2, "roles": 4, "rolebindings": 4, "clusterroles": 2, "clusterrolebindings": 2}
	if got := left(t, cluster, spec.TaskID); !equal(got, all) {
		t.Errorf("of two attempts there are %v, want %v", got, all)
	}
	for range 2 { // What is gone is no error, nor is a namespace that is.
		if err := client.Revoke(t.Context(), spec.TaskID, spec.Attempt, ns, []string{ns, elsewhere, "none", ""}); err != nil {
			t.Fatal(err)
		}
	}
	half := map[string]int{"serviceaccounts": 1, "roles": 2, "rolebindings": 2, "clusterroles": 1, "clusterrolebindings": 1}
	if got := left(t, cluster, spec.TaskID); !equal(got, half) {
		t.Errorf("of the other attempt there are %v, want %v", got, half)
	}
	if err := client.Revoke(t.Context(), spec.TaskID, second.Attempt, ns, []string{ns, elsewhere, ""}); err != nil {
		t.Fatal(err)
	}
	if got := left(t, cluster, spec.TaskID); len(got) > 0 {
		t.Errorf("after the revocation there are %v", got)
	}
	if _, err := as.Snapshot(t.Context(), []kube.Target{at("v1", "ConfigMap", ns, "a", "")}, salt); !errors.Is(err, kube.ErrForbidden) {
		t.Errorf("after the revocation: %v", err)
	}
	if got := left(t, cluster, other.TaskID); len(got) != len(granted) {
		t.Errorf("of the other task there are %v", got)
	}
}

func TestGrantSharesWhatIsAlike(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client, ns := cluster.Client(t), cluster.Namespace
	read := grants.Grant{
		Target: grants.Target{APIVersion: "v1", Kind: "ConfigMap", Namespace: ns}, Verbs: []string{"get", "list"},
	}
	checked := read
	checked.Verbs, checked.Checked = []string{"get"}, []string{"list"}
	for name, c := range map[string]struct {
		grant     grants.Grant
		want      map[string]int
		container bool
	}{
		"the same": {read, map[string]int{"serviceaccounts": 2, "roles": 1, "rolebindings": 1}, true},
		"checked":  {checked, map[string]int{"serviceaccounts": 2, "roles": 2, "rolebindings": 2}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task := uuid.NewString()
			container, actions := kube.Identities(task, 1, ns, []grants.Grant{c.grant})
			if err := client.Grant(t.Context(), container, actions); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := client.Revoke(context.Background(), task, 1, ns, []string{ns}); err != nil {
					t.Error(err)
				}
			})
			if got := left(t, cluster, task); !equal(got, c.want) {
				t.Errorf("there are %v, want %v", got, c.want)
			}
			listing := func(spec kube.RightsSpec) error {
				as, err := client.As(spec.Namespace, spec.Name())
				if err != nil {
					return err
				}
				_, err = as.Snapshot(t.Context(), []kube.Target{at("v1", "ConfigMap", ns, "", "")}, salt)
				return err
			}
			for until := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				err := listing(actions)
				if err == nil {
					break
				}
				if time.Now().After(until) {
					t.Fatalf("the actions may not list: %v", err)
				}
			}
			if err := listing(container); (err == nil) != c.container {
				t.Errorf("the container lists: %v", err)
			}
		})
	}
}

func equal(a, b map[string]int) bool {
	for key := range b {
		if a[key] != b[key] {
			return false
		}
	}
	return len(a) == len(b)
}

func TestGrantRefuses(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	admin, ns := cluster.Client(t), cluster.Namespace
	// As an installation whose own rights are too few: it may make roles, but not give what it has not.
	_, few := grant(t, cluster, admin,
		kube.Right{APIVersion: "v1", Kind: "ServiceAccount", Namespace: ns, Verbs: []string{"create"}},
		kube.Right{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role", Namespace: ns, Verbs: []string{"create"}},
		kube.Right{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding", Namespace: ns, Verbs: []string{"create"}},
		kube.Right{APIVersion: "v1", Kind: "ConfigMap", Namespace: ns, Verbs: []string{"get"}},
	)
	for name, c := range map[string]struct {
		client *kube.Client
		right  kube.Right
		want   error
	}{
		"what it has":              {few, kube.Right{"v1", "ConfigMap", ns, "a", []string{"get"}}, nil},
		"what it has not":          {few, kube.Right{"v1", "ConfigMap", ns, "a", []string{"delete"}}, kube.ErrForbidden},
		"unknown kind":             {admin, kube.Right{"v1", "Unicorn", ns, "a", []string{"get"}}, nil},
		"no namespace":             {admin, kube.Right{"v1", "ConfigMap", "", "a", []string{"get"}}, kube.ErrInvalid},
		"namespace of a cluster's": {admin, kube.Right{"v1", "Namespace", ns, "a", []string{"get"}}, kube.ErrInvalid},
		"absent namespace":         {admin, kube.Right{"v1", "ConfigMap", "none", "a", []string{"get"}}, kube.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := kube.RightsSpec{TaskID: uuid.NewString(), Attempt: 1, Namespace: ns, Rights: []kube.Right{c.right}}
			if err := c.client.Grant(t.Context(), spec); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// A container's token, which the API server itself signs, has the rights that were granted.
// Where Graf may do nothing it has given nothing; that must not keep it from taking away what it has given elsewhere.
func TestRevokeGoesOn(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	admin, ns := cluster.Client(t), cluster.Namespace
	deletes := []string{"get", "deletecollection"}
	const rbac = "rbac.authorization.k8s.io/v1"
	_, limited := grant(t, cluster, admin,
		kube.Right{APIVersion: rbac, Kind: "Role", Namespace: ns, Verbs: deletes},
		kube.Right{APIVersion: rbac, Kind: "RoleBinding", Namespace: ns, Verbs: deletes},
		kube.Right{APIVersion: "v1", Kind: "ServiceAccount", Namespace: ns, Verbs: deletes},
	)
	spec := kube.RightsSpec{TaskID: cluster.MakeNamespace(t), Attempt: 1, Namespace: ns, Rights: []kube.Right{
		{APIVersion: "v1", Kind: "ConfigMap", Namespace: ns, Verbs: []string{"get"}},
	}}
	if err := admin.Grant(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	other := cluster.MakeNamespace(t)
	var err error
	for range 100 { // until the API server knows what limited may do
		err = limited.Revoke(t.Context(), spec.TaskID, spec.Attempt, ns, []string{other, ns})
		if len(left(t, cluster, spec.TaskID)) == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := left(t, cluster, spec.TaskID); len(got) > 0 || !errors.Is(err, kube.ErrForbidden) {
		t.Errorf("left are %v: %v", got, err)
	}
}

func TestTokenOfAGrant(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client, ns := cluster.Client(t), cluster.Namespace
	spec, _ := grant(t, cluster, client, kube.Right{"v1", "ConfigMap", ns, "", []string{"list"}})
	request := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": map[string]any{"name": spec.Name()},
		"spec": map[string]any{"expirationSeconds": int64(600)},
	}}
	made, err := cluster.Dynamic.Resource(granted[0].resource).Namespace(ns).Create(t.Context(), request, metav1.CreateOptions{}, "token")
	if err != nil {
		t.Fatal(err)
	}
	settings, err := cluster.Config().REST()
	if err != nil {
		t.Fatal(err)
	}
	settings.CertData, settings.KeyData = nil, nil
	settings.BearerToken, _, _ = unstructured.NestedString(made.Object, "status", "token")
	pod, err := kube.NewForConfig(settings)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pod.Snapshot(t.Context(), []kube.Target{at("v1", "ConfigMap", ns, "", "")}, salt); err != nil {
		t.Error(err)
	}
	if _, err := pod.Snapshot(t.Context(), []kube.Target{at("v1", "Secret", ns, "", "")}, salt); !errors.Is(err, kube.ErrForbidden) {
		t.Errorf("what was not granted: %v", err)
	}
}
