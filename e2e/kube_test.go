//go:build e2e

package e2e

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/manifest"
)

func TestKubeProbe(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := kube.New(kube.Config{Kubeconfig: os.Getenv("KUBECONFIG"), Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	m, err := c.Resolve(ctx, "serving.knative.dev/v1", "Revision")
	t.Log(m, err, time.Since(began))
	_, err = c.Resolve(ctx, "apps/v1", "Nothing")
	t.Log(err)
	if !errors.Is(err, kube.ErrNotFound) {
		t.Error(err)
	}
	ns := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "probe"}}
	if _, err := c.Apply(ctx, ns, kube.ApplyOptions{FieldManager: "x"}); err != nil {
		t.Fatal(err)
	}
	spec := kube.RightsSpec{TaskID: "0190b5a0-0000-7000-8000-000000000000", Attempt: 1, Namespace: "probe", Rights: []kube.Right{
		{APIVersion: "v1", Kind: "ConfigMap", Namespace: "probe", Name: "mine", Verbs: []string{"get", "create", "patch", "delete"}},
	}}
	if err := c.Grant(ctx, spec); err != nil {
		t.Fatal(err)
	}
	as, err := c.As("probe", spec.Name())
	if err != nil {
		t.Fatal(err)
	}
	cm := func(name string) map[string]any {
		return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "probe"}, "data": map[string]any{"a": "1"}}
	}
	time.Sleep(time.Second)
	_, err = as.Apply(ctx, cm("mine"), kube.ApplyOptions{FieldManager: "task"})
	t.Log("mine:", err)
	_, err = as.Apply(ctx, cm("other"), kube.ApplyOptions{FieldManager: "task"})
	t.Log("other:", err)
	again := cm("mine")
	again["data"] = map[string]any{"a": "2"}
	_, err = c.Apply(ctx, again, kube.ApplyOptions{FieldManager: "somebody"})
	t.Log("conflict:", err)
	again["dta"] = "x"
	_, err = c.Apply(ctx, again, kube.ApplyOptions{FieldManager: "somebody", DryRun: true})
	t.Log("strict:", err)
	snap, err := as.Snapshot(ctx, []kube.Target{{APIVersion: "v1", Kind: "ConfigMap", Namespace: "probe", Name: "mine"}}, nil)
	t.Log(snap, err)
	snap, err = as.Snapshot(ctx, []kube.Target{{APIVersion: "v1", Kind: "ConfigMap", Namespace: "probe"}}, nil)
	t.Log(snap, err)
	t.Log(c.Revoke(ctx, spec.TaskID, []string{"probe"}))
	t.Log(c.Remove(ctx, snapRef(), false))
}

func snapRef() manifest.Ref { return manifest.Ref{APIVersion: "v1", Kind: "Namespace", Name: "probe"} }
