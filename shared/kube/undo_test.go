package kube_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kubetest"
	"github.com/graf-run/graf/shared/manifest"
)

// undoing is a change of one object that a task made, between two snapshots.
type undoing struct {
	cluster       *kubetest.Cluster
	client        *kube.Client
	ref           manifest.Ref
	before, after *manifest.Object
}

// change lets a task do something to an object and takes the snapshots before and after.
func change(t *testing.T, cluster *kubetest.Cluster, ref manifest.Ref, do func(client *kube.Client)) *undoing {
	t.Helper()
	u := &undoing{cluster: cluster, client: cluster.Client(t), ref: ref}
	u.before = u.snapshot(t)
	do(u.client)
	u.after = u.snapshot(t)
	return u
}

// snapshot is nil where there is no object.
func (u *undoing) snapshot(t *testing.T) *manifest.Object {
	t.Helper()
	got, err := u.client.Snapshot(t.Context(), []kube.Target{{APIVersion: u.ref.APIVersion, Kind: u.ref.Kind, Namespace: u.ref.Namespace, Name: u.ref.Name}}, salt)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Objects) == 0 {
		return nil
	}
	return &got.Objects[0]
}

// plan reads the object as it is now and tells how to take the change back.
func (u *undoing) plan(t *testing.T) (manifest.Reversion, *unstructured.Unstructured) {
	t.Helper()
	live, err := u.client.Live(t.Context(), u.ref)
	if err != nil {
		t.Fatal(err)
	}
	var content map[string]any
	if live != nil {
		content = live.Object
	}
	reversion, err := manifest.Revert(u.before, u.after, content, salt)
	if err != nil {
		t.Fatal(err)
	}
	return reversion, live
}

// undo carries it out, dry first, which changes nothing.
func (u *undoing) undo(t *testing.T) {
	t.Helper()
	reversion, live := u.plan(t)
	if !reversion.Possible() {
		t.Fatalf("it cannot be taken back: %+v", reversion)
	}
	is := u.snapshot(t)
	if err := u.client.Revert(t.Context(), reversion, live, "undo", true); err != nil {
		t.Fatalf("dry run: %v", err)
	}
	if now := u.snapshot(t); !same(is, now) {
		t.Fatal("the dry run changed something")
	}
	if err := u.client.Revert(t.Context(), reversion, live, "undo", false); err != nil {
		t.Fatal(err)
	}
}

func same(a, b *manifest.Object) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Digest() == b.Digest()
}

func applying(t *testing.T, namespace, text string) func(*kube.Client) {
	return func(client *kube.Client) {
		t.Helper()
		if _, err := client.Apply(t.Context(), decode(t, namespace, text), kube.ApplyOptions{FieldManager: "t", Force: true}); err != nil {
			t.Fatal(err)
		}
	}
}

// update changes an object as somebody else.
func update(t *testing.T, cluster *kubetest.Cluster, resource schema.GroupVersionResource, name string, do func(content map[string]any)) {
	t.Helper()
	client := cluster.Dynamic.Resource(resource).Namespace(cluster.Namespace)
	live, err := client.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	do(live.Object)
	if _, err := client.Update(t.Context(), live, metav1.UpdateOptions{FieldManager: "another"}); err != nil {
		t.Fatal(err)
	}
}

func set(t *testing.T, content map[string]any, value any, path ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(content, value, path...); err != nil {
		t.Fatal(err)
	}
}

const changedDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS, annotations: {why: load}}
spec:
  replicas: 5
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "web:2", resources: {limits: {memory: 256Mi}}, env: [{name: MODE, value: fast}]}
      - {name: sidecar, image: "sidecar:1"}
`

func TestUndoRoundTrip(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		resource       schema.GroupVersionResource
		before, change string
	}{
		"deployment": {deployments, deploymentText, changedDeployment},
		"config map": {configMaps, configMapText, strings.Replace(configMapText, "{colour: blue}", "{colour: red, shape: round}", 1)},
		"service": {
			schema.GroupVersionResource{Version: "v1", Resource: "services"},
			"apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NS}\nspec: {ports: [{name: http, port: 80}], selector: {app: web}}",
			"apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NS}\nspec: {ports: [{name: http, port: 80}, {name: admin, port: 81}], selector: {tier: front}}",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := kubetest.Open(t)
			made := create(t, cluster, c.resource, c.before)
			ref := manifest.Ref{APIVersion: made.GetAPIVersion(), Kind: made.GetKind(), Namespace: made.GetNamespace(), Name: made.GetName()}
			u := change(t, cluster, ref, applying(t, cluster.Namespace, c.change))
			if same(u.before, u.after) {
				t.Fatal("the change changed nothing")
			}
			u.undo(t)
			if now := u.snapshot(t); !same(now, u.before) {
				t.Errorf("after the undo there is %s, before the change there was %s", now.JSON(), u.before.JSON())
			}
			if reversion, _ := u.plan(t); !reversion.Nothing {
				t.Errorf("a second undo has something to do: %+v", reversion)
			}
		})
	}
}

// What somebody else has changed since in other fields stays.
func TestUndoKeepsTheChangesOfOthers(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	create(t, cluster, deployments, deploymentText)
	u := change(t, cluster, deploymentRef(cluster), applying(t, cluster.Namespace, changedDeployment))
	update(t, cluster, deployments, "web", func(content map[string]any) {
		set(t, content, "data", "metadata", "labels", "team")
		set(t, content, int64(7), "spec", "revisionHistoryLimit")
	})
	u.undo(t)
	live, err := u.client.Live(t.Context(), u.ref)
	if err != nil {
		t.Fatal(err)
	}
	replicas, _, _ := unstructured.NestedInt64(live.Object, "spec", "replicas")
	history, _, _ := unstructured.NestedInt64(live.Object, "spec", "revisionHistoryLimit")
	if replicas != 2 || history != 7 || live.GetLabels()["team"] != "data" || live.GetAnnotations()["why"] != "" {
		t.Errorf("%d replicas, history %d, %v, %v", replicas, history, live.GetLabels(), live.GetAnnotations())
	}
}

func TestUndoIsRefusedForAFieldThatSomebodyChanged(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	create(t, cluster, deployments, deploymentText)
	u := change(t, cluster, deploymentRef(cluster), applying(t, cluster.Namespace, changedDeployment))
	update(t, cluster, deployments, "web", func(content map[string]any) { set(t, content, int64(9), "spec", "replicas") })
	reversion, _ := u.plan(t)
	if reversion.Possible() || len(reversion.Conflicts) != 1 || reversion.Conflicts[0].Path != "spec.replicas" ||
		reversion.Conflicts[0].Old != int64(5) && reversion.Conflicts[0].Old != float64(5) {
		t.Errorf("got %+v, want a conflict about spec.replicas", reversion.Conflicts)
	}
}

func TestUndoOfACreation(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	u := change(t, cluster, configMapRef(cluster), applying(t, cluster.Namespace, configMapText))
	u.undo(t)
	// Without a garbage collector its finalizer stays.
	live, err := u.client.Live(t.Context(), u.ref)
	if err != nil || live != nil && live.GetDeletionTimestamp() == nil {
		t.Errorf("it was not deleted: %v, %v", live, err)
	}
}

func TestUndoOfADeletion(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	create(t, cluster, deployments, deploymentText)
	u := change(t, cluster, deploymentRef(cluster), func(*kube.Client) { remove(t, cluster, deployments, "web") })
	u.undo(t)
	if now := u.snapshot(t); !same(now, u.before) {
		t.Errorf("there is %v, there was %s", now, u.before.JSON())
	}
	update(t, cluster, deployments, "web", func(content map[string]any) { set(t, content, int64(9), "spec", "replicas") })
	if reversion, _ := u.plan(t); reversion.Possible() {
		t.Error("what somebody else made in its place would be written over")
	}
}

func remove(t *testing.T, cluster *kubetest.Cluster, resource schema.GroupVersionResource, name string) {
	t.Helper()
	if err := cluster.Dynamic.Resource(resource).Namespace(cluster.Namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestUndoCannotBringBackSecrets(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	const text = "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: NS}\ndata: {password: b25l}"
	create(t, cluster, secrets, text)
	ref := manifest.Ref{APIVersion: "v1", Kind: "Secret", Namespace: cluster.Namespace, Name: "key"}
	u := change(t, cluster, ref, applying(t, cluster.Namespace, strings.Replace(text, "b25l", "dHdv", 1)))
	reversion, _ := u.plan(t)
	if reversion.Possible() || len(reversion.Lost) != 1 || reversion.Lost[0] != "data.password" || len(reversion.Conflicts) > 0 {
		t.Errorf("got %+v, want data.password to be lost", reversion)
	}
}

// Between the plan and the deed somebody else may come.
func TestRevertMeetsAnotherChange(t *testing.T) {
	t.Parallel()
	touch := func(t *testing.T, cluster *kubetest.Cluster) {
		update(t, cluster, configMaps, "settings", func(content map[string]any) { set(t, content, "y", "data", "x") })
	}
	gone := func(t *testing.T, cluster *kubetest.Cluster) { remove(t, cluster, configMaps, "settings") }
	again := func(t *testing.T, cluster *kubetest.Cluster) { create(t, cluster, configMaps, configMapText) }
	for name, c := range map[string]struct {
		before    bool // whether it was there before the task
		after     bool
		meanwhile func(*testing.T, *kubetest.Cluster)
	}{
		"modified, then changed":  {true, true, touch},
		"modified, then deleted":  {true, true, gone},
		"created, then changed":   {false, true, touch},
		"created, then deleted":   {false, true, gone},
		"deleted, then made anew": {true, false, again},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := kubetest.Open(t)
			if c.before {
				create(t, cluster, configMaps, configMapText)
			}
			u := change(t, cluster, configMapRef(cluster), func(client *kube.Client) {
				if c.after {
					applying(t, cluster.Namespace, strings.Replace(configMapText, "blue", "red", 1))(client)
				} else {
					remove(t, cluster, configMaps, "settings")
				}
			})
			reversion, live := u.plan(t)
			c.meanwhile(t, cluster)
			if err := u.client.Revert(t.Context(), reversion, live, "undo", false); !errors.Is(err, kube.ErrConflict) {
				t.Errorf("got %v, want ErrConflict", err)
			}
		})
	}
}

func TestLive(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client, ref := cluster.Client(t), configMapRef(cluster)
	for name, absent := range map[string]manifest.Ref{
		"object": ref, "kind": {APIVersion: "v1", Kind: "Unicorn", Namespace: cluster.Namespace, Name: "a"},
	} {
		if live, err := client.Live(t.Context(), absent); live != nil || err != nil {
			t.Errorf("absent %s: %v, %v", name, live, err)
		}
	}
	create(t, cluster, configMaps, configMapText)
	if live, err := client.Live(t.Context(), ref); err != nil || live.GetName() != "settings" {
		t.Errorf("%v, %v", live, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Live(ctx, ref); !errors.Is(err, kube.ErrUnavailable) {
		t.Errorf("away: %v", err)
	}
}
