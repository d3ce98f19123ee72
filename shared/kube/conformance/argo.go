package conformance

import (
	"context"
	_ "embed" // Of the definitions.
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

//go:embed argo.yaml
var argoDefinitions string

// InstallArgo makes a cluster serve Workflows and WorkflowTemplates, without a controller, and waits until it does. Where
// it does already, nothing changes. They stay: other tests may use them at the same time.
func InstallArgo(ctx context.Context, t testing.TB, config *rest.Config) {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	resource := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	for document := range strings.SplitSeq(argoDefinitions, "\n---\n") {
		definition := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &definition.Object); err != nil {
			t.Fatal(err)
		}
		_, err := client.Resource(resource).Create(ctx, definition, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		plural, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "plural")
		awaitServed(ctx, t, client, schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: plural})
	}
}

// awaitServed asks again: that a definition is established is said a moment before the kind is served.
func awaitServed(ctx context.Context, t testing.TB, client dynamic.Interface, resource schema.GroupVersionResource) {
	t.Helper()
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, caseTimeout, true, func(ctx context.Context) (bool, error) {
		_, err := client.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil && !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("list %s: %w", resource.Resource, err)
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("%s are not served: %v", resource.Resource, err)
	}
}
