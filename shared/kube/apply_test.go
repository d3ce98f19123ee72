package kube_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kubetest"
	"github.com/graf-run/graf/shared/manifest"
)

var asTask = kube.ApplyOptions{FieldManager: kube.FieldManager("t")}

func colour(t *testing.T, cluster *kubetest.Cluster) string {
	t.Helper()
	live, err := cluster.Dynamic.Resource(configMaps).Namespace(cluster.Namespace).Get(t.Context(), "settings", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "absent"
	}
	if err != nil {
		t.Fatal(err)
	}
	value, _, _ := unstructured.NestedString(live.Object, "data", "colour")
	return value
}

func TestApplyCreatesAndChanges(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client := cluster.Client(t)
	content := decode(t, cluster.Namespace, configMapText)
	dry := asTask
	dry.DryRun = true
	if would, err := client.Apply(t.Context(), content, dry); err != nil || would.GetUID() == "" || colour(t, cluster) != "absent" {
		t.Fatalf("dry run: %v, %v, %s", would, err, colour(t, cluster))
	}
	made, err := client.Apply(t.Context(), content, asTask)
	if err != nil || colour(t, cluster) != "blue" {
		t.Fatalf("create: %v, %s", err, colour(t, cluster))
	}
	if fields := made.GetManagedFields(); len(fields) != 1 || fields[0].Manager != "graf-task-t" || fields[0].Operation != "Apply" {
		t.Errorf("the fields are managed by %v", fields)
	}
	again, err := client.Apply(t.Context(), content, asTask)
	if err != nil || again.GetResourceVersion() != made.GetResourceVersion() {
		t.Errorf("what is applied twice changed: %v", err)
	}
	// As exported from a cluster, with what it says about itself.
	exported := decode(t, cluster.Namespace, strings.Replace(configMapText, "blue", "red", 1))
	exported["metadata"].(map[string]any)["uid"] = "0190b5a0-0000-7000-8000-000000000000"
	exported["metadata"].(map[string]any)["resourceVersion"] = "1"
	exported["metadata"].(map[string]any)["managedFields"] = []any{map[string]any{"manager": "x"}}
	if _, err := client.Apply(t.Context(), exported, asTask); err != nil || colour(t, cluster) != "red" {
		t.Errorf("an exported manifest: %v, %s", err, colour(t, cluster))
	}
	if exported["metadata"].(map[string]any)["resourceVersion"] != "1" {
		t.Error("the caller's manifest was changed")
	}
}

func TestApplyConflicts(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client := cluster.Client(t)
	create(t, cluster, deployments, deploymentText)
	other := decode(t, cluster.Namespace, strings.NewReplacer("replicas: 2", "replicas: 5", "100Mi", "200Mi").Replace(deploymentText))
	for name, options := range map[string]kube.ApplyOptions{"applied": asTask, "dry": {FieldManager: asTask.FieldManager, DryRun: true}} {
		_, err := client.Apply(t.Context(), other, options)
		var conflict *kube.ConflictError
		if !errors.Is(err, kube.ErrConflict) || !errors.As(err, &conflict) || len(conflict.Conflicts) != 2 ||
			conflict.Conflicts[0] != (kube.FieldConflict{Field: ".spec.replicas", Owner: "somebody"}) ||
			conflict.Ref != deploymentRef(cluster) || !strings.Contains(err.Error(), ".spec.replicas belongs to somebody") {
			t.Errorf("%s: %v", name, err)
		}
	}
	forced := asTask
	forced.Force = true
	applied, err := client.Apply(t.Context(), other, forced)
	if err != nil {
		t.Fatal(err)
	}
	if replicas, _, _ := unstructured.NestedInt64(applied.Object, "spec", "replicas"); replicas != 5 {
		t.Errorf("%d replicas after force, want 5", replicas)
	}
	// Who has a field says so to others of Graf, too.
	_, err = client.Apply(t.Context(), decode(t, cluster.Namespace, deploymentText), kube.ApplyOptions{FieldManager: kube.FieldManager("u")})
	if err == nil || !strings.Contains(err.Error(), ".spec.replicas belongs to graf-task-t") {
		t.Errorf("the next task: %v", err)
	}
}

func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client := cluster.Client(t)
	widgets := cluster.Define(t, true)
	resolveSoon(t, client, widgets)
	nobody, err := client.As(cluster.Namespace, "nobody")
	if err != nil {
		t.Fatal(err)
	}
	widget := "apiVersion: " + widgets.APIVersion + "\nkind: Widget\nmetadata: {name: w, namespace: NS}\nspec: {text: "
	for name, c := range map[string]struct {
		client  *kube.Client
		text    string
		want    error
		message string
	}{
		"unknown field":     {client, strings.Replace(deploymentText, "replicas:", "replica:", 1), kube.ErrInvalid, ".spec.replica"},
		"wrong type":        {client, strings.Replace(deploymentText, "replicas: 2", "replicas: two", 1), kube.ErrInvalid, "replicas"},
		"not valid":         {client, strings.Replace(deploymentText, "replicas: 2", "replicas: -2", 1), kube.ErrInvalid, "spec.replicas"},
		"lacks a field":     {client, strings.Replace(deploymentText, "name: web, image", "image", 1), kube.ErrInvalid, "name"},
		"not a map":         {client, strings.Replace(configMapText, "{colour: blue}", "[blue]", 1), kube.ErrInvalid, "data"},
		"bad quantity":      {client, strings.Replace(deploymentText, "100Mi", "much", 1), kube.ErrInvalid, "quantit"},
		"no kind":           {client, "apiVersion: v1\nmetadata: {name: a, namespace: NS}", kube.ErrInvalid, "kind is missing"},
		"no version":        {client, "kind: ConfigMap\nmetadata: {name: a, namespace: NS}", kube.ErrInvalid, "apiVersion is missing"},
		"no name":           {client, "apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: NS}", kube.ErrInvalid, "metadata.name"},
		"no namespace":      {client, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}", kube.ErrInvalid, "name it"},
		"odd metadata":      {client, "apiVersion: v1\nkind: ConfigMap\nmetadata: 3", kube.ErrInvalid, "metadata"},
		"path as a name":    {client, strings.Replace(configMapText, "settings", "a/b", 1), kube.ErrInvalid, "a/b"},
		"capital name":      {client, strings.Replace(configMapText, "settings", "A", 1), kube.ErrInvalid, "lowercase"},
		"unknown kind":      {client, "apiVersion: v1\nkind: Unicorn\nmetadata: {name: a, namespace: NS}", kube.ErrNotFound, "Unicorn"},
		"unknown namespace": {client, strings.Replace(configMapText, "NS", "none", 1), kube.ErrNotFound, "none"},
		"no right":          {nobody, configMapText, kube.ErrForbidden, "cannot patch"},
		"5 MiB":             {client, strings.Replace(configMapText, "blue", strings.Repeat("a", 5<<20), 1), kube.ErrInvalid, "large"},
		"too much for etcd": {client, widget + strings.Repeat("a", 7<<18) + "}", kube.ErrInvalid, "large"},
		"too much for gRPC": {client, widget + strings.Repeat("a", 2<<20) + "}", kube.ErrInvalid, "larger than max"},
		"1.5 MiB of data":   {client, strings.Replace(configMapText, "blue", strings.Repeat("a", 3<<19), 1), kube.ErrInvalid, "Too long"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.client.Apply(t.Context(), decode(t, cluster.Namespace, c.text), asTask)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.message) {
				t.Errorf("got %.2000v, want %v with %q", err, c.want, c.message)
			}
		})
	}
}

// In a namespace that is being deleted nothing new can be made, for a while.
func TestApplyInADyingNamespace(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client := cluster.Client(t)
	create(t, cluster, configMaps, configMapText)
	if err := cluster.Dynamic.Resource(kubetest.Namespaces).Delete(t.Context(), cluster.Namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	made := decode(t, cluster.Namespace, strings.Replace(configMapText, "settings", "other", 1))
	if _, err := client.Apply(t.Context(), made, asTask); !errors.Is(err, kube.ErrConflict) || !strings.Contains(err.Error(), "being terminated") {
		t.Errorf("create: %v", err)
	}
	changed := decode(t, cluster.Namespace, strings.Replace(configMapText, "colour", "shape", 1))
	if _, err := client.Apply(t.Context(), changed, asTask); err != nil {
		t.Errorf("change of what is there: %v", err)
	}
}

func TestApplyWhenTheClusterIsAway(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client := cluster.Client(t)
	if _, err := client.Resolve(t.Context(), "v1", "ConfigMap"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Apply(ctx, decode(t, cluster.Namespace, configMapText), asTask); !errors.Is(err, kube.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client, ref := cluster.Client(t), configMapRef(cluster)
	made := create(t, cluster, configMaps, configMapText)
	if err := client.Remove(t.Context(), ref, kube.RemoveOptions{DryRun: true}); err != nil || colour(t, cluster) != "blue" {
		t.Fatalf("dry run: %v, %s", err, colour(t, cluster))
	}
	err := client.Remove(t.Context(), ref, kube.RemoveOptions{UID: "of one that was there before"})
	if !errors.Is(err, kube.ErrConflict) || colour(t, cluster) != "blue" {
		t.Fatalf("another of its name: %v, %s", err, colour(t, cluster))
	}
	if err := client.Remove(t.Context(), ref, kube.RemoveOptions{UID: made.GetUID()}); err != nil {
		t.Fatal(err)
	}
	// The garbage collector, which is not here, would remove the finalizer once nothing is owned.
	live, err := client.Live(t.Context(), ref)
	if err != nil || live != nil && (live.GetDeletionTimestamp() == nil || live.GetUID() != made.GetUID()) {
		t.Errorf("after its deletion: %v, %v", live, err)
	}
	for name, absent := range map[string]manifest.Ref{
		"object":    {APIVersion: "v1", Kind: "ConfigMap", Namespace: cluster.Namespace, Name: "none"},
		"namespace": {APIVersion: "v1", Kind: "ConfigMap", Namespace: "none", Name: "none"},
		"kind":      {APIVersion: "v1", Kind: "Unicorn", Namespace: cluster.Namespace, Name: "none"},
	} {
		if err := client.Remove(t.Context(), absent, kube.RemoveOptions{}); err != nil {
			t.Errorf("absent %s: %v", name, err)
		}
	}
	if err := client.Remove(t.Context(), manifest.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: cluster.Namespace}, kube.RemoveOptions{}); !errors.Is(err, kube.ErrInvalid) {
		t.Errorf("without a name: %v", err)
	}
}

func TestSortForApply(t *testing.T) {
	t.Parallel()
	var manifests []map[string]any
	for _, kind := range []string{"ValidatingWebhookConfiguration", "Deployment", "Widget", "Service", "RoleBinding", "Role", "CustomResourceDefinition", "Namespace"} {
		manifests = append(manifests, map[string]any{"kind": kind})
	}
	kube.SortForApply(manifests)
	var kinds []string
	for _, m := range manifests {
		kinds = append(kinds, m["kind"].(string))
	}
	want := "Namespace CustomResourceDefinition Role RoleBinding Service Deployment Widget ValidatingWebhookConfiguration"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
