package kubetest_test

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/kubetest"
)

// What a test made is gone when it has ended, and another's is not.
func TestWhatATestMadeGoes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	observer := kubetest.Open(t)
	var used *kubetest.Cluster
	var defined kubetest.Definition
	if !t.Run("user", func(t *testing.T) {
		used = kubetest.Open(t)
		defined = used.Define(t, true)
		widget := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": defined.APIVersion, "kind": defined.Kind, "metadata": map[string]any{"name": "one"},
			"spec": map[string]any{"size": int64(3)},
		}}
		if _, err := used.Dynamic.Resource(defined.Resource).Namespace(used.Namespace).Create(ctx, widget, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	}) {
		t.FailNow()
	}
	if _, err := observer.Dynamic.Resource(kubetest.Namespaces).Get(ctx, used.Namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace after the test: %v", err)
	}
	if _, err := observer.Dynamic.Resource(defined.Resource).List(ctx, metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the custom resource after the test: %v", err)
	}
	if _, err := observer.Dynamic.Resource(kubetest.Namespaces).Get(ctx, observer.Namespace, metav1.GetOptions{}); err != nil {
		t.Errorf("the observer's namespace: %v", err)
	}
}

func TestDefinitionOfTheWholeCluster(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cluster := kubetest.Open(t)
	defined := cluster.Define(t, false)
	widget := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": defined.APIVersion, "kind": defined.Kind, "metadata": map[string]any{"name": "one"},
	}}
	if _, err := cluster.Dynamic.Resource(defined.Resource).Create(ctx, widget, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	cluster.Undefine(t, defined)
	cluster.Undefine(t, defined) // as the end of the test does
}
