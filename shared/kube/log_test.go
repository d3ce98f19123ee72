package kube_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kubetest"
)

var (
	accounts    = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	podResource = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
)

// An API server without a node has the pod of an execution, and no log.
func TestLogOfAContainerThatNeverRan(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Open(t)
	client := cluster.Client(t)
	create(t, cluster, accounts, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: agent, namespace: NS}}`)
	spec := validSpec()
	spec.Namespace, spec.ServiceAccount = cluster.Namespace, "agent"
	execution, err := client.Launch(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Log(t.Context(), execution); !errors.Is(err, kube.ErrNotFound) {
		t.Errorf("without a pod: got %v, want %v", err, kube.ErrNotFound)
	}
	create(t, cluster, podResource, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: %[1]s-abcde
  namespace: NS
  labels: {batch.kubernetes.io/job-name: %[1]s}
  ownerReferences: [{apiVersion: batch/v1, kind: Job, name: %[1]s, uid: %[2]s, controller: true}]
spec:
  serviceAccountName: agent
  automountServiceAccountToken: false
  containers: [{name: agent, image: a}]
`, execution.Name, execution.UID))
	stream, err := client.Log(t.Context(), execution)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(stream)
	if err := errors.Join(err, stream.Close()); err != nil || len(text) > 0 {
		t.Errorf("of a pod without a node: got %q, %v; want nothing", text, err)
	}
	stranger, err := client.As(cluster.Namespace, "agent")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Log(t.Context(), execution); !errors.Is(err, kube.ErrForbidden) {
		t.Errorf("without the right: got %v, want %v", err, kube.ErrForbidden)
	}
}

// The bound on requests is none on the reading of a log.
func TestLogIsNotBoundByTheTimeoutOfRequests(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/log") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [{"apiVersion": "v1", "kind": "Pod",
				"metadata": {"name": "p", "namespace": "graf", "ownerReferences": [{"uid": "u", "controller": true}]}}]}`)
			return
		}
		if r.URL.Path != "/api/v1/namespaces/graf/pods/p/log" || r.URL.RawQuery != "container=agent" {
			t.Errorf("asked for %s", r.URL)
		}
		for range 5 {
			_, _ = io.WriteString(w, "a line\n")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}))
	t.Cleanup(server.Close)
	client, err := kube.NewForConfig(&rest.Config{Host: server.URL, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := client.Log(t.Context(), kube.Execution{Kind: "Job", Name: "codex-t-2", Namespace: "graf", UID: "u"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(stream)
	if err := errors.Join(err, stream.Close()); err != nil || string(text) != strings.Repeat("a line\n", 5) {
		t.Errorf("got %q, %v", text, err)
	}
}

// Of an answer that is cut off client-go writes a line of its own, past the structured log: one read that is refused must
// not cut off the others.
func TestRefusedSnapshotCutsNothingOff(t *testing.T) {
	t.Parallel()
	begun, refused := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/api":
			_, _ = io.WriteString(w, `{"kind": "APIGroupDiscoveryList", "items": [{"metadata": {"name": ""}, "versions": [{"version": "v1",
				"resources": [{"resource": "configmaps", "scope": "Namespaced", "responseKind": {"group": "", "version": "v1", "kind": "ConfigMap"}}]}]}]}`)
		case "/apis":
			_, _ = io.WriteString(w, `{"kind": "APIGroupDiscoveryList", "items": []}`)
		case "/api/v1/namespaces/n/configmaps/refused":
			<-begun
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden"}`)
			_ = http.NewResponseController(w).Flush()
			close(refused)
		default:
			_, _ = io.WriteString(w, `{"apiVersion": "v1", "kind": "ConfigMap", `)
			_ = http.NewResponseController(w).Flush()
			close(begun)
			<-refused
			select {
			case <-r.Context().Done():
				t.Error("the other read was cut off")
			case <-time.After(200 * time.Millisecond):
			}
			_, _ = io.WriteString(w, `"metadata": {"name": "other", "namespace": "n"}}`)
		}
	}))
	t.Cleanup(server.Close)
	client, err := kube.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	target := func(name string) kube.Target {
		return kube.Target{APIVersion: "v1", Kind: "ConfigMap", Namespace: "n", Name: name}
	}
	if _, err := client.Snapshot(t.Context(), []kube.Target{target("refused"), target("other")}, salt); !errors.Is(err, kube.ErrForbidden) {
		t.Errorf("got %v, want %v", err, kube.ErrForbidden)
	}
}
