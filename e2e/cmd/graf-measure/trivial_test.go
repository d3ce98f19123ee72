package main

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestLike: a trivial function has the settings of one of Graf's, and nothing of
// its configuration.
func TestLike(t *testing.T) {
	t.Parallel()
	model := &unstructured.Unstructured{Object: object{"spec": object{"template": object{
		"metadata": object{"annotations": object{"autoscaling.knative.dev/max-scale": "10"}, "labels": object{"a": "graf"}},
		"spec": object{
			"serviceAccountName": "graf-submit", "containerConcurrency": int64(100),
			"containers": []any{object{
				"image": "graf-submit", "envFrom": []any{object{"configMapRef": object{"name": "graf-config"}}},
				"env":            []any{object{"name": "SECRET", "value": "graf"}},
				"readinessProbe": object{"httpGet": object{"path": "/health/readiness"}},
			}},
		},
	}}}}
	for name, most := range map[string]string{trivial: "10", second: "1"} {
		service, err := like(model, name, "some-image")
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(service["spec"])
		for _, want := range []string{"some-image", "max-scale:" + most + "]", "containerConcurrency:100", "serviceAccountName:trivial", "/health/readiness"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %s in %s", name, want, text)
			}
		}
		if strings.Contains(text, "graf") {
			t.Errorf("%s has something of Graf's: %s", name, text)
		}
	}
}
