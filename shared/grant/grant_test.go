package grant_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graf-run/graf/shared/grant"
)

func TestReadable(t *testing.T) {
	t.Parallel()
	grants, err := grant.Parse([]byte(`[
		{"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "verbs": ["get", "patch"]},
		{"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "verbs": ["get"]},
		{"apiVersion": "v1", "kind": "ConfigMap", "namespace": "cart", "labelSelector": "app=web", "checked": ["list"]},
		{"apiVersion": "v1", "kind": "Node", "name": "n1", "verbs": ["list"]},
		{"apiVersion": "v1", "kind": "Secret", "namespace": "closed", "name": "s"}]`))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]grant.Target{grants[0].Target, grants[2].Target}, grant.Readable(grants)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"", "cart", "shop"}, grant.Namespaces(grants)); d != "" {
		t.Error(d)
	}
	if _, err := grant.Parse([]byte("{")); err == nil {
		t.Error("what is no JSON is read")
	}
}
