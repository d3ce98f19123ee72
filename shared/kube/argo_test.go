package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kube/conformance"
	"github.com/graf-run/graf/shared/kubetest"
)

var (
	workflows = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"}
)

// argo is an API server that serves Workflows, and a namespace of the test's own.
type argo struct {
	conformance.Target
	dynamic dynamic.Interface
}

func newArgo(t *testing.T) argo {
	t.Helper()
	cluster := kubetest.Open(t)
	config, err := clientcmd.BuildConfigFromFlags("", cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	conformance.InstallArgo(conformance.Context(t), t, config)
	return argo{
		Target:  conformance.Target{Config: config, Namespace: cluster.Namespace, Image: "none.test/image", Kind: kube.KindWorkflow},
		dynamic: cluster.Dynamic,
	}
}

// report writes a Workflow's status as Argo's controller does, which has no subresource for it.
func (a argo) report(t *testing.T, execution kube.Execution, status map[string]any) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.dynamic.Resource(workflows).Namespace(a.Namespace).Patch(
		conformance.Context(t), execution.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWorkflowLifecycle(t *testing.T) {
	t.Parallel()
	a := newArgo(t)
	ctx, client, spec := conformance.Context(t), a.Client(t), a.Spec("exit 0")
	spec.Manifests = map[string][]byte{"a.yaml": []byte("a: 1")}
	first := conformance.Launch(t, client, spec)
	if first.Kind != kube.KindWorkflow || first.Name != spec.Name() || first.UID == "" {
		t.Fatalf("launched %+v", first)
	}
	owned, err := a.dynamic.Resource(secrets).Namespace(a.Namespace).Get(ctx, first.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := metav1.OwnerReference{
		APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow", Name: first.Name, UID: types.UID(first.UID),
		Controller: new(true), BlockOwnerDeletion: new(true),
	}
	if diff := cmp.Diff([]metav1.OwnerReference{want}, owned.GetOwnerReferences()); diff != "" {
		t.Error(diff)
	}
	now := time.Now().UTC().Format(time.RFC3339)
	for _, c := range []struct {
		status map[string]any
		phase  kube.Phase
	}{
		{map[string]any{"phase": "Pending", "startedAt": nil, "finishedAt": nil}, kube.PhaseActive},
		{map[string]any{"phase": "Running", "startedAt": now}, kube.PhaseActive},
		{map[string]any{"phase": "Succeeded", "finishedAt": now, "progress": "1/1"}, kube.PhaseSucceeded},
	} {
		a.report(t, first, c.status)
		again, err := client.Launch(ctx, spec)
		if err != nil || again != first {
			t.Errorf("launched again: %+v, %v; want %+v", again, err, first)
		}
		seen, err := client.Get(ctx, first)
		if err != nil || seen.Phase != c.phase || seen.TaskID != spec.TaskID {
			t.Errorf("%v: seen %+v, %v", c.status, seen, err)
		}
		listed, err := client.List(ctx, a.Namespace)
		if diff := cmp.Diff([]kube.Observation{seen}, listed); err != nil || diff != "" {
			t.Errorf("listed: %v %s", err, diff)
		}
	}
	for range 2 {
		if err := client.Delete(ctx, first); err != nil {
			t.Fatal(err)
		}
	}
	if seen, err := client.Get(ctx, first); !errors.Is(err, kube.ErrNotFound) {
		t.Errorf("after its deletion: %+v, %v", seen, err)
	}
}

func TestWorkflowOfAnother(t *testing.T) {
	t.Parallel()
	a := newArgo(t)
	ctx, client, spec := conformance.Context(t), a.Client(t), a.Spec("exit 0")
	foreign := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "spec": map[string]any{},
		"metadata": map[string]any{"name": spec.Name(), "namespace": a.Namespace},
	}}
	if _, err := a.dynamic.Resource(workflows).Namespace(a.Namespace).Create(ctx, foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Launch(ctx, spec); !errors.Is(err, kube.ErrConflict) {
		t.Errorf("got %v, want a conflict", err)
	}
	spec.Attempt, spec.Namespace = 2, "no-such-namespace"
	_, err := client.Launch(ctx, spec)
	if !errors.Is(err, kube.ErrNotFound) || strings.Contains(err.Error(), "install Argo") {
		t.Errorf("got %v, want that the namespace is not there", err)
	}
}

// A launch by an account without the right says how to give it, and a list goes by what it may see.
func TestWorkflowsWithoutTheRight(t *testing.T) {
	t.Parallel()
	a := newArgo(t)
	ctx, client := conformance.Context(t), a.Client(t)
	conformance.Launch(t, client, a.Spec("exit 0"))
	a.allowJobs(t)
	poor, err := client.As(a.Namespace, "default")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := poor.Launch(ctx, a.Spec("exit 0")); !errors.Is(err, kube.ErrForbidden) || !strings.Contains(err.Error(), "components/argo") {
		t.Errorf("got %v, want how to give Graf the right", err)
	}
	if listed, err := poor.List(ctx, a.Namespace); err != nil || len(listed) != 0 {
		t.Errorf("listed %v, %v", listed, err)
	}
}

// allowJobs lets the default account list Jobs, and waits until the API server knows.
func (a argo) allowJobs(t *testing.T) {
	t.Helper()
	ctx := conformance.Context(t)
	group := schema.GroupVersion{Group: "rbac.authorization.k8s.io", Version: "v1"}
	for plural, fields := range map[string]map[string]any{
		"roles": {"kind": "Role", "rules": []any{map[string]any{
			"apiGroups": []any{"batch"}, "resources": []any{"jobs"}, "verbs": []any{"list"},
		}}},
		"rolebindings": {
			"kind":     "RoleBinding",
			"roleRef":  map[string]any{"apiGroup": group.Group, "kind": "Role", "name": "jobs"},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "default", "namespace": a.Namespace}},
		},
	} {
		fields["apiVersion"], fields["metadata"] = group.String(), map[string]any{"name": "jobs", "namespace": a.Namespace}
		_, err := a.dynamic.Resource(group.WithResource(plural)).Namespace(a.Namespace).Create(
			ctx, &unstructured.Unstructured{Object: fields}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	poor, err := a.Client(t).As(a.Namespace, "default")
	if err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, err := poor.List(ctx, a.Namespace)
		return !errors.Is(err, kube.ErrForbidden), nil
	})
	if err != nil {
		t.Fatalf("the right to list Jobs was never given: %v", err)
	}
}
