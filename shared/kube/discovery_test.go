package kube_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kubetest"
)

// counting returns a client and the count of discoveries that it makes, of two requests each.
func counting(t *testing.T, cluster *kubetest.Cluster) (*kube.Client, *atomic.Int64) {
	t.Helper()
	settings, err := cluster.Config().REST()
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	settings.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/apis" {
				asked.Add(1)
			}
			return next.RoundTrip(r)
		})
	})
	client, err := kube.NewForConfig(settings)
	if err != nil {
		t.Fatal(err)
	}
	return client, &asked
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestResolve(t *testing.T) {
	t.Parallel()
	client, asked := counting(t, kubetest.Open(t))
	for name, c := range map[string]struct {
		apiVersion, kind, resource string
		namespaced                 bool
	}{
		"core":             {"v1", "ConfigMap", "configmaps", true},
		"group":            {"apps/v1", "Deployment", "deployments", true},
		"irregular plural": {"networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", true},
		"whole cluster":    {"rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false},
		"namespace itself": {"v1", "Namespace", "namespaces", false},
		"definition":       {"apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", false},
		"a later version":  {"autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true},
	} {
		got, err := client.Resolve(t.Context(), c.apiVersion, c.kind)
		if err != nil || got.Resource.Resource != c.resource || got.Namespaced != c.namespaced {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("%d discoveries, want one that is kept", asked.Load())
	}
	if _, err := client.Resolve(t.Context(), "a/b/c", "ConfigMap"); !errors.Is(err, kube.ErrInvalid) {
		t.Errorf("a malformed apiVersion: %v", err)
	}
	// An impersonating client shares what is known.
	other, err := client.As("default", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Resolve(t.Context(), "v1", "Secret"); err != nil || asked.Load() != 1 {
		t.Errorf("%v, after %d discoveries", err, asked.Load())
	}
}

// Kinds that there are not cost no more than a discovery every two seconds.
func TestResolveUnknownKinds(t *testing.T) {
	t.Parallel()
	client, asked := counting(t, kubetest.Open(t))
	began := time.Now()
	for range 100 {
		if _, err := client.Resolve(t.Context(), "v1", "Unicorn"); !errors.Is(err, kube.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if most := int64(1 + time.Since(began)/(2*time.Second)); asked.Load() > most {
		t.Errorf("%d discoveries in %v, want at most %d", asked.Load(), time.Since(began), most)
	}
}

// A kind that is defined later is found, and one that has gone is absent.
func TestResolveNewAndVanishedKinds(t *testing.T) {
	t.Parallel()
	for name, namespaced := range map[string]bool{"namespaced": true, "whole cluster": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := kubetest.Open(t)
			client, asked := counting(t, cluster)
			if _, err := client.Resolve(t.Context(), "v1", "ConfigMap"); err != nil {
				t.Fatal(err)
			}
			defined := cluster.Define(t, namespaced)
			mapping := resolveSoon(t, client, defined)
			if mapping.Resource != defined.Resource || mapping.Namespaced != namespaced || asked.Load() < 2 {
				t.Errorf("%+v after %d discoveries", mapping, asked.Load())
			}
			cluster.Undefine(t, defined)
			target := kube.Target{APIVersion: defined.APIVersion, Kind: defined.Kind, Name: "one"}
			if namespaced {
				target.Namespace = cluster.Namespace
			}
			all := target
			all.Name = ""
			got, err := client.Snapshot(t.Context(), []kube.Target{target, all}, salt)
			if err != nil || len(got.Objects) != 0 || len(got.Absent) != 1 {
				t.Errorf("a vanished kind: %+v, %v", got, err)
			}
		})
	}
}

// resolveSoon asks until a kind is known, which takes as long as an earlier discovery may be old.
func resolveSoon(t *testing.T, client *kube.Client, defined kubetest.Definition) kube.Mapping {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		mapping, err := client.Resolve(t.Context(), defined.APIVersion, defined.Kind)
		if err == nil {
			return mapping
		}
		if !errors.Is(err, kube.ErrNotFound) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// What is not the API server of a supported Kubernetes is told apart from one that is away.
func TestResolveElsewhere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"an old Kubernetes": {`{"kind": "APIVersions", "versions": ["v1"]}`, kube.ErrInvalid},
		"another server":    {`<html>`, kube.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := kube.NewForConfig(&rest.Config{Host: answering(t, c.body)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Resolve(t.Context(), "v1", "ConfigMap"); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
