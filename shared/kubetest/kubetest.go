// Package kubetest gives each test a namespace of its own on a real Kubernetes API
// server. What executes Jobs is not here: kube/conformance states what that does.
//
// make test runs kube-apiserver and etcd, and nothing else of a cluster: server-side
// apply, validation, RBAC, admission, impersonation, custom resources and tokens are
// the real ones. But there is no controller manager, no scheduler and no node:
//
//   - Jobs, Deployments and the like are stored and nothing comes of them: a test
//     writes their status itself, as the controller would.
//   - What is deleted in the foreground, or owned by what is deleted, stays: nothing
//     collects garbage.
//   - A namespace that is deleted is Terminating until somebody finalizes it, which
//     [Open] does at the test's end. What was in it stays in etcd.
//   - No namespace has the service account "default", so a pod has to name one that
//     the test made.
package kubetest

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/graf-run/graf/shared/kube"
)

// Variable names the environment variable that holds the path of a kubeconfig, whose user
// may do everything.
const Variable = "GRAF_TEST_KUBECONFIG"

const (
	// timeout bounds the making and the removal of what a test gets.
	timeout = time.Minute
	// requestTimeout bounds one request of a client that is made from Config. A machine that
	// is busy with tests is slow.
	requestTimeout = 30 * time.Second
)

// Resources that tests write and read with [Cluster.Dynamic].
var (
	Namespaces  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	Definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

var serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}

// Cluster is an API server, and a test's own namespace on it.
type Cluster struct {
	// Namespace is the test's own.
	Namespace string
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string
	// Dynamic is the administrator's client.
	Dynamic dynamic.Interface
}

// Client returns the administrator's client of package kube, for a test that needs no namespace of its own.
func Client(t testing.TB) *kube.Client {
	t.Helper()
	return find(t).Client(t)
}

// Open makes a namespace, which is removed at the test's end.
func Open(t testing.TB) *Cluster {
	t.Helper()
	c := find(t)
	settings, err := c.Config().REST()
	if err != nil {
		t.Fatalf("%s: %v", Variable, err)
	}
	if c.Dynamic, err = dynamic.NewForConfig(settings); err != nil {
		t.Fatalf("%s: %v", Variable, err)
	}
	c.Namespace = c.MakeNamespace(t)
	return c
}

// find is the API server, of which nothing was asked yet.
func find(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{Kubeconfig: os.Getenv(Variable)}
	if c.Kubeconfig == "" {
		t.Fatalf("%s is not set: run make test, or: go run ./local/cmd/graf-local services --ephemeral "+
			`--kubernetes "$(cluster/apiserver.sh)" -- go test ./...`, Variable)
	}
	return c
}

// Config is the administrator's, for [kube.New].
func (c *Cluster) Config() kube.Config {
	return kube.Config{Kubeconfig: c.Kubeconfig, Timeout: requestTimeout}
}

// Client returns the administrator's client of package kube.
func (c *Cluster) Client(t testing.TB) *kube.Client {
	t.Helper()
	client, err := kube.New(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// MakeNamespace makes one more namespace, which is removed at the test's end, and returns its name.
func (c *Cluster) MakeNamespace(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	name := uniqueName()
	namespace := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}}
	if _, err := c.Dynamic.Resource(Namespaces).Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		t.Fatalf("make the test's namespace: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := c.removeNamespace(ctx, name); err != nil {
			t.Errorf("remove the test's namespace: %v", err)
		}
	})
	return name
}

// uniqueName is a DNS label.
func uniqueName() string { return "test-" + strings.ToLower(rand.Text()) }

// NameNamespace names a namespace that the test's subject may make. It is removed at the test's end.
func (c *Cluster) NameNamespace(t testing.TB) string {
	t.Helper()
	name := uniqueName()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := c.removeNamespace(ctx, name); err != nil {
			t.Errorf("remove the namespace: %v", err)
		}
	})
	return name
}

// removeNamespace deletes a namespace and, where no controller will, finalizes it.
func (c *Cluster) removeNamespace(ctx context.Context, name string) error {
	namespaces := c.Dynamic.Resource(Namespaces)
	err := namespaces.Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil && !apierrors.IsConflict(err) { // A test may have deleted it already.
		return err
	}
	// The controllers of a whole cluster gave it this, and remove it with what it holds.
	_, err = c.Dynamic.Resource(serviceAccounts).Namespace(name).Get(ctx, "default", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	namespace, err := namespaces.Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		unstructured.RemoveNestedField(namespace.Object, "spec", "finalizers")
		_, err = namespaces.Update(ctx, namespace, metav1.UpdateOptions{}, "finalize")
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
