package kube_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kubetest"
	"github.com/graf-run/graf/shared/manifest"
)

// answering serves a body to whatever is asked.
func answering(t *testing.T, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func names(objects []manifest.Object) string {
	list := make([]string, len(objects))
	for i, o := range objects {
		list[i] = o.Ref.Kind + "/" + o.Ref.Name
	}
	return strings.Join(list, " ")
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client, ns := cluster.Client(t), cluster.Namespace
	for _, name := range []string{"b", "a"} {
		create(t, cluster, configMaps, strings.Replace(configMapText, "settings", name, 1))
	}
	create(t, cluster, configMaps, strings.Replace(configMapText, "app: web", "app: db", 1))
	create(t, cluster, deployments, deploymentText)
	widgets := cluster.Define(t, false)
	create(t, cluster, widgets.Resource, "apiVersion: "+widgets.APIVersion+"\nkind: Widget\nmetadata: {name: wide}\nspec: {size: 3}")
	resolveSoon(t, client, widgets)

	for name, c := range map[string]struct {
		targets []kube.Target
		objects string
		absent  []string
	}{
		"nothing": {nil, "", nil},
		"a name":  {[]kube.Target{at("v1", "ConfigMap", ns, "settings", "")}, "ConfigMap/settings", nil},
		"a selector": {
			[]kube.Target{at("v1", "ConfigMap", ns, "", "app=web")}, "ConfigMap/a ConfigMap/b", nil,
		},
		"all of a kind": {[]kube.Target{at("v1", "ConfigMap", ns, "", "")}, "ConfigMap/a ConfigMap/b ConfigMap/settings", nil},
		"each once, in order": {
			[]kube.Target{at("apps/v1", "Deployment", ns, "web", ""), at("v1", "ConfigMap", ns, "", "app=web"), at("v1", "ConfigMap", ns, "a", "")},
			"ConfigMap/a ConfigMap/b Deployment/web", nil,
		},
		"absent": {
			[]kube.Target{at("v1", "ConfigMap", ns, "none", ""), at("v1", "ConfigMap", ns, "none", ""), at("v1", "Unicorn", ns, "u", "")},
			"", []string{"ConfigMap " + ns + "/none", "Unicorn " + ns + "/u"},
		},
		"absent namespace":   {[]kube.Target{at("v1", "ConfigMap", "none", "a", "")}, "", []string{"ConfigMap none/a"}},
		"nothing selected":   {[]kube.Target{at("v1", "ConfigMap", ns, "", "app=none")}, "", nil},
		"of the cluster":     {[]kube.Target{at(widgets.APIVersion, "Widget", "", "wide", "")}, "Widget/wide", nil},
		"all of a cluster's": {[]kube.Target{at(widgets.APIVersion, "Widget", "", "", "")}, "Widget/wide", nil},
	} {
		got, err := client.Snapshot(t.Context(), c.targets, salt)
		if err != nil || names(got.Objects) != c.objects || len(got.Absent) != len(c.absent) {
			t.Errorf("%s: %s, absent %v, %v", name, names(got.Objects), got.Absent, err)
			continue
		}
		for i, absent := range c.absent {
			if got.Absent[i].String() != absent {
				t.Errorf("%s: absent %v, want %v", name, got.Absent, c.absent)
			}
		}
	}
}

func TestSnapshotRefuses(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client, ns := cluster.Client(t), cluster.Namespace
	nobody, err := client.As(ns, "nobody")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		client  *kube.Client
		target  kube.Target
		want    error
		message string
	}{
		"namespace of a cluster's": {client, at("v1", "Namespace", ns, ns, ""), kube.ErrInvalid, "leave out the namespace"},
		"no namespace":             {client, at("v1", "ConfigMap", "", "a", ""), kube.ErrInvalid, "name it"},
		"bad version":              {client, at("a/b/c", "ConfigMap", ns, "a", ""), kube.ErrInvalid, "apiVersion"},
		"bad selector":             {client, at("v1", "ConfigMap", ns, "", "a in"), kube.ErrInvalid, "list ConfigMap"},
		"bad name":                 {client, at("v1", "ConfigMap", ns, "a/b", ""), kube.ErrInvalid, `"a/b"`},
		"bad namespace":            {client, at("v1", "ConfigMap", "..", "a", ""), kube.ErrInvalid, `".."`},
		"no right to read":         {nobody, at("v1", "ConfigMap", ns, "a", ""), kube.ErrForbidden, "cannot get"},
		"no right to list":         {nobody, at("v1", "ConfigMap", ns, "", ""), kube.ErrForbidden, "cannot list"},
	} {
		got, err := c.client.Snapshot(t.Context(), []kube.Target{c.target}, salt)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.message) || got.Objects != nil {
			t.Errorf("%s: %v, %v; want %v with %q", name, got, err, c.want, c.message)
		}
	}
}

// What is too much for the database and for memory is not read, whether named or listed.
func TestSnapshotIsBounded(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	ns := cluster.Namespace
	for _, name := range []string{"a", "b"} {
		create(t, cluster, configMaps, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+name+", namespace: NS}\ndata: {text: "+strings.Repeat("x", 1000)+"}")
	}
	config := cluster.Config()
	for name, c := range map[string]struct {
		bytes   int64
		targets []kube.Target
		fits    bool
	}{
		"one by name": {2000, []kube.Target{at("v1", "ConfigMap", ns, "a", "")}, true},
		"two by name": {2000, []kube.Target{at("v1", "ConfigMap", ns, "a", ""), at("v1", "ConfigMap", ns, "b", "")}, false},
		"listed":      {2000, []kube.Target{at("v1", "ConfigMap", ns, "", "")}, false},
		"the default": {0, []kube.Target{at("v1", "ConfigMap", ns, "", "")}, true},
		"room enough": {4000, []kube.Target{at("v1", "ConfigMap", ns, "", "")}, true},
	} {
		config.SnapshotBytes = c.bytes
		admin, err := kube.New(config)
		if err != nil {
			t.Fatal(err)
		}
		client, err := admin.As("kube-system", "generic-garbage-collector") // which may read all
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.Snapshot(t.Context(), c.targets, salt)
		switch {
		case c.fits && (err != nil || len(got.Objects) == 0):
			t.Errorf("%s: %v", name, err)
		case !c.fits && (!errors.Is(err, kube.ErrInvalid) || !strings.Contains(err.Error(), "GRAF_SNAPSHOT_MAX_BYTES") || got.Objects != nil):
			t.Errorf("%s: %d objects, %v", name, len(got.Objects), err)
		}
	}
}

func TestSnapshotHidesSecrets(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	create(t, cluster, secrets, "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: NS}\nstringData: {password: hunter2}")
	for name, target := range map[string]kube.Target{
		"by name": at("v1", "Secret", cluster.Namespace, "key", ""),
		"listed":  at("v1", "Secret", cluster.Namespace, "", ""),
	} {
		got, err := cluster.Client(t).Snapshot(t.Context(), []kube.Target{target}, salt)
		if err != nil || names(got.Objects) != "Secret/key" {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		text := string(got.Objects[0].JSON())
		if !strings.Contains(text, `"password":"sha256-salted:`) || strings.Contains(text, "hunter2") || strings.Contains(text, "aHVudGVyMg") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// fill makes n ConfigMaps and returns them as targets, each by its name.
func fill(tb testing.TB, cluster *kubetest.Cluster, n int) []kube.Target {
	tb.Helper()
	targets := make([]kube.Target, n)
	var group sync.WaitGroup
	tickets := make(chan struct{}, 16)
	for i := range targets {
		name := fmt.Sprintf("cm-%03d", i)
		targets[i] = kube.Target{APIVersion: "v1", Kind: "ConfigMap", Namespace: cluster.Namespace, Name: name}
		group.Go(func() {
			tickets <- struct{}{}
			defer func() { <-tickets }()
			o := &unstructured.Unstructured{Object: decode(tb, cluster.Namespace, strings.Replace(configMapText, "settings", name, 1))}
			if _, err := cluster.Dynamic.Resource(configMaps).Namespace(cluster.Namespace).Create(tb.Context(), o, metav1.CreateOptions{}); err != nil {
				tb.Error(err)
			}
		})
	}
	group.Wait()
	return targets
}

func TestSnapshotOfManyResources(t *testing.T) {
	t.Parallel()
	const n = 200
	cluster := kubetest.Open(t)
	targets := fill(t, cluster, n)
	client := cluster.Client(t)
	began := time.Now()
	got, err := client.Snapshot(t.Context(), targets, salt)
	if err != nil || len(got.Objects) != n || len(got.Absent) != 0 {
		t.Fatalf("%d objects, %d absent, %v", len(got.Objects), len(got.Absent), err)
	}
	t.Logf("%d resources by name, discovery included: %v", n, time.Since(began))
	listed, err := client.Snapshot(t.Context(), []kube.Target{at("v1", "ConfigMap", cluster.Namespace, "", "app=web")}, salt)
	if err != nil || manifest.Digest(listed.Objects) != manifest.Digest(got.Objects) {
		t.Errorf("listed: %d objects, %v; want the same as by name", len(listed.Objects), err)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	const n = 200
	cluster := kubetest.Open(b)
	targets := fill(b, cluster, n)
	for name, targets := range map[string][]kube.Target{
		"200 by name": targets, "200 listed": {at("v1", "ConfigMap", cluster.Namespace, "", "")},
	} {
		b.Run(name, func(b *testing.B) {
			client := cluster.Client(b)
			for b.Loop() {
				if got, err := client.Snapshot(b.Context(), targets, salt); err != nil || len(got.Objects) != n {
					b.Fatalf("%d objects, %v", len(got.Objects), err)
				}
			}
		})
	}
}

// at is a target: one by its name, or those that a selector chooses.
func at(apiVersion, kind, namespace, name, selector string) kube.Target {
	return kube.Target{APIVersion: apiVersion, Kind: kind, Namespace: namespace, Name: name, LabelSelector: selector}
}
