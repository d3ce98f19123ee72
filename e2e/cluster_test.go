//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"
)

// Namespaces of Graf, and of what the tests bring along.
const (
	graf  = "graf"
	tests = "graf-e2e"
)

// What the tests read and change.
var (
	functions    = schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"}
	brokers      = schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "brokers"}
	triggers     = schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "triggers"}
	channels     = schema.GroupVersionResource{Group: "messaging.knative.dev", Version: "v1", Resource: "inmemorychannels"}
	jobs         = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
	pods         = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	namespaces   = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	nodes        = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	secrets      = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	coreServices = schema.GroupVersionResource{Version: "v1", Resource: "services"}
)

// object is a part of a Kubernetes object.
type object = map[string]any

// connect makes a client of the cluster that KUBECONFIG names.
func connect() (dynamic.Interface, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("%w: run these tests with make e2e", err)
	}
	// Polls of many waits share the client.
	config.QPS, config.Burst = 200, 400
	return dynamic.NewForConfig(config)
}

// resolve finds the address of a service of the cluster, whose names this
// machine need not know.
func resolve(ctx context.Context, cluster dynamic.Interface, namespace, name string) (string, error) {
	service, err := cluster.Resource(coreServices).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if host, _, _ := unstructured.NestedString(service.Object, "spec", "externalName"); host != "" {
		return host, nil
	}
	address, _, err := unstructured.NestedString(service.Object, "spec", "clusterIP")
	return address, err
}

// dialer connects by the cluster's names: those of its services, and those under
// .localhost, which its ingress serves.
func dialer(cluster dynamic.Interface) func(ctx context.Context, network, address string) (net.Conn, error) {
	var known sync.Map
	var plain net.Dialer
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if cached, ok := known.Load(host); ok {
			return plain.DialContext(ctx, network, net.JoinHostPort(cached.(string), port))
		}
		found := host
		for range 3 { // a function's name leads to the ingress's
			parts := strings.Split(found, ".")
			switch {
			case strings.HasSuffix(found, ".svc.cluster.local") && len(parts) == 5:
				found, err = resolve(ctx, cluster, parts[1], parts[0])
			case strings.HasSuffix(found, ".localhost"):
				found, err = resolve(ctx, cluster, "traefik", "traefik")
			}
			if err != nil {
				return nil, fmt.Errorf("find %s: %w", host, err)
			}
		}
		known.Store(host, found)
		return plain.DialContext(ctx, network, net.JoinHostPort(found, port))
	}
}

// reachable is the address by which pods reach the tests: GRAF_E2E_ADDRESS, or
// that of the first node, where the tests of this repository's cluster run.
func reachable(ctx context.Context, cluster dynamic.Interface) (string, error) {
	if address := os.Getenv("GRAF_E2E_ADDRESS"); address != "" {
		return address, nil
	}
	list, err := cluster.Resource(nodes).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return "", err
	}
	for _, node := range list.Items {
		addresses, _, _ := unstructured.NestedSlice(node.Object, "status", "addresses")
		for _, a := range addresses {
			if fields, ok := a.(object); ok && fields["type"] == "InternalIP" {
				return fmt.Sprint(fields["address"]), nil
			}
		}
	}
	return "", fmt.Errorf("no node has an address: set GRAF_E2E_ADDRESS to one of this machine that pods can reach")
}

// create makes an object, which is removed at the test's end.
func (s *system) create(t testing.TB, resource schema.GroupVersionResource, o object) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{Object: o}
	made, err := s.cluster.Resource(resource).Namespace(u.GetNamespace()).Create(within(t), u, metav1.CreateOptions{})
	must(t, err)
	t.Cleanup(func() {
		s.remove(t, resource, u.GetNamespace(), u.GetName())
		if resource == triggers && u.GetNamespace() == graf {
			s.awaitUnsubscribed(t, u.GetName())
		}
	})
	return made
}

// remove deletes an object with what it owns, if it is there.
func (s *system) remove(t testing.TB, resource schema.GroupVersionResource, namespace, name string) {
	t.Helper()
	policy := metav1.DeletePropagationBackground
	err := s.cluster.Resource(resource).Namespace(namespace).Delete(within(t), name, metav1.DeleteOptions{PropagationPolicy: &policy})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("remove %s %s: %v", resource.Resource, name, err)
	}
}

// change reads an object, lets f change it and writes it.
func (s *system) change(t testing.TB, resource schema.GroupVersionResource, namespace, name string, f func(*unstructured.Unstructured)) {
	t.Helper()
	ctx := within(t)
	client := s.cluster.Resource(resource).Namespace(namespace)
	must(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		o, err := client.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		f(o)
		_, err = client.Update(ctx, o, metav1.UpdateOptions{})
		return err
	}))
}

// awaitReady waits until an object's controller calls it ready as it is now.
func (s *system) awaitReady(t testing.TB, resource schema.GroupVersionResource, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	var o *unstructured.Unstructured
	eventually(t, resource.Resource+" "+name+" is ready", func() bool {
		var err error
		o, err = s.cluster.Resource(resource).Namespace(namespace).Get(within(t), name, metav1.GetOptions{})
		return err == nil && ready(o)
	})
	return o
}

// ready says whether the object is ready as it is now. Pods do not all say what
// they have observed.
func ready(o *unstructured.Unstructured) bool {
	observed, found, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if fields, ok := c.(object); ok && fields["type"] == "Ready" {
			return fields["status"] == "True" && (!found && o.GetKind() == "Pod" || observed == o.GetGeneration())
		}
	}
	return false
}

// podsOf are the pods with these labels that are not being removed.
func (s *system) podsOf(t testing.TB, namespace, selector string) []unstructured.Unstructured {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	list, err := s.cluster.Resource(pods).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil // the caller asks again
	}
	return list.Items
}
