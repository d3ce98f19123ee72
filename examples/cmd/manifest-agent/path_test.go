package main

import (
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want, problem string }{
		{text: "spec.replicas", want: "spec.replicas"},
		{text: "spec.containers[name=web].image", want: "spec.containers[name=web].image"},
		{text: "spec.containers[name=a.b].image", want: "spec.containers[name=a.b].image"},
		{text: `metadata.labels.example\.com/a`, want: `metadata.labels.example\.com/a`},
		{text: "", problem: "a key is empty"},
		{text: "spec..replicas", problem: "a key is empty"},
		{text: "spec.containers[0].image", problem: "write it as [name=web]"},
		{text: "spec.containers[name=web.image", problem: "write it as [name=web]"},
	} {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			p, err := parsePath(test.text)
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Fatalf("error = %v, want one with %q", err, test.problem)
				}
				return
			}
			if err != nil || p.String() != test.want {
				t.Fatalf("path = %q, %v; want %q", p, err, test.want)
			}
		})
	}
}

func TestChange(t *testing.T) {
	t.Parallel()
	const web = "spec.template.spec.containers[name=web]"
	for _, test := range []struct{ name, field, value, before, problem string }{
		{name: "new limit", field: web + ".resources.limits.memory", value: "512Mi", before: "nothing"},
		{name: "limit equal to the request", field: web + ".resources.limits.memory", value: "100Mi", before: "nothing"},
		{name: "another unit", field: web + ".resources.limits.memory", value: "0.1Gi", before: "nothing"},
		{name: "existing text", field: web + ".image", value: "registry.example/web:2", before: "registry.example/web:1"},
		{name: "number", field: "spec.replicas", value: "3", before: "nothing"},
		{name: "limit below the request", field: web + ".resources.limits.memory", value: "32Mi",
			problem: "container web: limits.memory 32Mi is below requests.memory 100Mi"},
		{name: "request above the limit", field: web + ".resources", value: "{limits: {cpu: 1}, requests: {cpu: 1500m}}",
			problem: "container web: limits.cpu 1 is below requests.cpu 1500m"},
		{name: "no quantity", field: web + ".resources.limits.memory", value: "lots",
			problem: `container web: limits.memory "lots" is no quantity`},
		{name: "negative", field: web + ".resources.limits.memory", value: "-1Mi", problem: "is no quantity"},
		{name: "no such item", field: "spec.template.spec.containers[name=db].image", value: "x",
			problem: "there is no such item; there is proxy, web"},
		{name: "no such list", field: "spec.template.spec.volumes[name=db].emptyDir", value: "{}", problem: "there is no such list"},
		{name: "through text", field: "kind.name", value: "x", problem: "kind: has no fields"},
		{name: "ends at an item", field: web, value: "x", problem: "name a field of it"},
		{name: "no YAML", field: "spec.replicas", value: "{", problem: `value "{"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			field, err := parsePath(test.field)
			if err != nil {
				t.Fatal(err)
			}
			before, err := web1(t).change(field, test.value)
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Fatalf("error = %v, want one with %q", err, test.problem)
				}
				return
			}
			if err != nil || shown(before) != test.before {
				t.Fatalf("before = %q, %v; want %q", shown(before), err, test.before)
			}
		})
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	list := []manifest{web1(t), web1(t)}
	list[1]["metadata"] = map[string]any{"name": "web", "namespace": "staging"}
	for _, test := range []struct{ name, namespace, want, problem string }{
		{name: "web", namespace: "staging", want: "Deployment staging/web"},
		{name: "web", problem: "say which one with --namespace"},
		{name: "db", problem: `no Deployment db among the manifests; there is ["Deployment shop/web" "Deployment staging/web"]`},
	} {
		found, err := find(list, "Deployment", test.namespace, test.name)
		if test.problem == "" && (err != nil || found.String() != test.want) {
			t.Errorf("find %s/%s = %v, %v; want %s", test.namespace, test.name, found, err, test.want)
		}
		if test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
			t.Errorf("find %s/%s: error = %v, want one with %q", test.namespace, test.name, err, test.problem)
		}
	}
}

// web1 is the Deployment in testdata.
func web1(t *testing.T) manifest {
	t.Helper()
	list, err := loadManifests("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 {
		t.Fatalf("testdata has %d resources, want 2", len(list))
	}
	return list[0]
}
