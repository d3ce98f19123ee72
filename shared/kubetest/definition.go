package kubetest

import (
	"context"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// pollInterval is the pause between two questions whether a custom resource is served.
const pollInterval = 20 * time.Millisecond

// Definition is a kind of custom resource that a test defined. Its spec has the fields that the
// test wants, as the schema allows any; it has a status that is written by itself.
type Definition struct {
	// APIVersion is GROUP/v1, of a group of the test's own.
	APIVersion string
	// Kind is always Widget.
	Kind string
	// Resource is where its objects are.
	Resource schema.GroupVersionResource
	// Name is that of the CustomResourceDefinition.
	Name string
}

// Define makes a kind of custom resource that nobody else has, of objects in namespaces or of the whole
// cluster, and waits until it is served. It is removed with its objects at the test's end.
func (c *Cluster) Define(t testing.TB, namespaced bool) Definition {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	d := c.NameDefinition(t)
	definition := &unstructured.Unstructured{Object: d.Manifest(namespaced)}
	if _, err := c.Dynamic.Resource(Definitions).Create(ctx, definition, metav1.CreateOptions{}); err != nil {
		t.Fatalf("define a custom resource: %v", err)
	}
	for {
		_, err := c.Dynamic.Resource(d.Resource).List(ctx, metav1.ListOptions{})
		if err == nil {
			return d
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the custom resource %s is not served: %v", d.Name, err)
		case <-time.After(pollInterval):
		}
	}
}

// NameDefinition names a kind of custom resource that the test's subject may define. It is removed at the test's end.
func (c *Cluster) NameDefinition(t testing.TB) Definition {
	t.Helper()
	group := uniqueName() + ".graf.test"
	d := Definition{
		APIVersion: group + "/v1", Kind: "Widget", Name: "widgets." + group,
		Resource: schema.GroupVersionResource{Group: group, Version: "v1", Resource: "widgets"},
	}
	t.Cleanup(func() { c.Undefine(t, d) })
	return d
}

// Undefine removes a kind of custom resource and waits until it is served no more. One that is gone is no error.
func (c *Cluster) Undefine(t testing.TB, d Definition) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := c.Dynamic.Resource(Definitions).Delete(ctx, d.Name, metav1.DeleteOptions{})
	for !apierrors.IsNotFound(err) {
		select {
		case <-ctx.Done():
			t.Errorf("the custom resource %s does not go: %v", d.Name, err)
			return
		case <-time.After(pollInterval):
		}
		_, err = c.Dynamic.Resource(d.Resource).List(ctx, metav1.ListOptions{})
	}
}

// Manifest is that of the CustomResourceDefinition, for objects in namespaces or of the whole cluster.
func (d Definition) Manifest(namespaced bool) map[string]any {
	scope := "Cluster"
	if namespaced {
		scope = "Namespaced"
	}
	return map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": d.Name},
		"spec": map[string]any{
			"group": d.Resource.Group, "scope": scope,
			"names": map[string]any{"plural": d.Resource.Resource, "singular": "widget", "kind": d.Kind, "listKind": d.Kind + "List"},
			"versions": []any{map[string]any{
				"name": d.Resource.Version, "served": true, "storage": true,
				"subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{
					"type": "object",
					"properties": map[string]any{
						"spec":   map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
						"status": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
					},
				}},
			}},
		},
	}
}
