package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// What is read and made.
var (
	functions       = schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"}
	brokers         = schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "brokers"}
	triggers        = schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "triggers"}
	jobs            = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
	pods            = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	events          = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	nodes           = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	secrets         = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	coreServices    = schema.GroupVersionResource{Version: "v1", Resource: "services"}
)

// object is a part of a Kubernetes object.
type object = map[string]any

// cluster is the one that KUBECONFIG names.
type cluster struct {
	dynamic.Interface
	api  *http.Client // with the cluster's credentials
	host string
}

func connect() (*cluster, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("%w: run it with make bench-cluster", err)
	}
	config.QPS, config.Burst = 200, 400
	c := &cluster{host: config.Host}
	if c.Interface, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	c.api, err = rest.HTTPClientFor(config)
	return c, err
}

// open reads what the API server serves beside objects.
func (c *cluster) open(ctx context.Context, path string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.host+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := c.api.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		_ = answer.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", path, answer.Status)
	}
	return answer.Body, nil
}

// get reads JSON.
func (c *cluster) get(ctx context.Context, path string, out any) error {
	body, err := c.open(ctx, path)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	return json.NewDecoder(body).Decode(out)
}

// nodes are the cluster's.
func (c *cluster) nodes(ctx context.Context) ([]unstructured.Unstructured, error) {
	list, err := c.Resource(nodes).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// address is one of this machine that pods can reach: GRAF_E2E_ADDRESS, or that
// of the node, where this program runs for this repository's cluster.
func (c *cluster) address(ctx context.Context) (string, error) {
	if address := os.Getenv("GRAF_E2E_ADDRESS"); address != "" {
		return address, nil
	}
	all, err := c.nodes(ctx)
	if err != nil {
		return "", err
	}
	for _, node := range all {
		addresses, _, _ := unstructured.NestedSlice(node.Object, "status", "addresses")
		for _, a := range addresses {
			if fields, ok := a.(object); ok && fields["type"] == "InternalIP" {
				return fmt.Sprint(fields["address"]), nil
			}
		}
	}
	return "", fmt.Errorf("no node has an address: set GRAF_E2E_ADDRESS to one of this machine that pods can reach")
}

// resolve finds the address of a Kubernetes Service.
func (c *cluster) resolve(ctx context.Context, namespace, name string) (string, error) {
	service, err := c.Resource(coreServices).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	address, _, err := unstructured.NestedString(service.Object, "spec", "clusterIP")
	return address, err
}

// dialer connects by the cluster's names: those of its Services, and those under
// .localhost, which its ingress serves.
func (c *cluster) dialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	var known sync.Map
	var plain net.Dialer
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if cached, ok := known.Load(host); ok {
			return plain.DialContext(ctx, network, net.JoinHostPort(fmt.Sprint(cached), port))
		}
		found, parts := host, strings.Split(host, ".")
		switch {
		case strings.HasSuffix(host, ".svc.cluster.local") && len(parts) == 5:
			found, err = c.resolve(ctx, parts[1], parts[0])
		case strings.HasSuffix(host, ".localhost"):
			found, err = c.resolve(ctx, "traefik", "traefik")
		}
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", host, err)
		}
		known.Store(host, found)
		return plain.DialContext(ctx, network, net.JoinHostPort(found, port))
	}
}
