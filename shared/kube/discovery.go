package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// discoveryAge is how old a discovery may be, at least, before an unknown kind has it made anew: a flood of requests
// for kinds that there are not must not become one of discoveries.
const discoveryAge = 2 * time.Second

// discoveryLifetime is when a discovery is made anew in any case: a definition may have been replaced by one of another
// scope or plural.
const discoveryLifetime = 10 * time.Minute

// aggregated asks for all groups in one answer, which Kubernetes gives since 1.30.
const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// maxDiscoveryBytes bounds an answer: a cluster with a thousand kinds has 1 MiB.
const maxDiscoveryBytes = 32 << 20

// Mapping is how the API server serves a kind.
type Mapping struct {
	Resource   schema.GroupVersionResource
	Namespaced bool
}

// discovery knows the kinds that the API server serves, and asks again for those it does not know.
type discovery struct {
	client rest.Interface

	mutex    sync.Mutex
	mappings map[schema.GroupVersionKind]Mapping
	at       time.Time
}

// Resolve tells how the API server serves a kind, custom resources included. A kind that it does not serve is
// ErrNotFound; so may be one that it has served for less than two seconds.
func (c *Client) Resolve(ctx context.Context, apiVersion, kind string) (Mapping, error) {
	version, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return Mapping{}, fmt.Errorf("%w: apiVersion %q: %w", ErrInvalid, apiVersion, err)
	}
	return c.discovery.resolve(ctx, version.WithKind(kind))
}

func (d *discovery) resolve(ctx context.Context, kind schema.GroupVersionKind) (Mapping, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	age := time.Since(d.at)
	if mapping, known := d.mappings[kind]; known && age < discoveryLifetime {
		return mapping, nil
	}
	if age > discoveryAge {
		found, err := d.discover(ctx)
		if err != nil {
			return Mapping{}, err
		}
		d.mappings, d.at = found, time.Now()
	}
	mapping, known := d.mappings[kind]
	if !known {
		return Mapping{}, fmt.Errorf("%w: the API server serves no kind %s in %s", ErrNotFound, kind.Kind, kind.GroupVersion())
	}
	return mapping, nil
}

// discoveryList is the part of an APIGroupDiscoveryList that counts here:
// https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery
type discoveryList struct {
	Kind  string `json:"kind"`
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Versions []struct {
			Version   string              `json:"version"`
			Resources []discoveryResource `json:"resources"`
		} `json:"versions"`
	} `json:"items"`
}

type discoveryResource struct {
	Resource     string `json:"resource"`
	Scope        string `json:"scope"`
	ResponseKind struct {
		Group   string `json:"group"`
		Version string `json:"version"`
		Kind    string `json:"kind"`
	} `json:"responseKind"`
}

func (d *discovery) discover(ctx context.Context) (map[schema.GroupVersionKind]Mapping, error) {
	found := map[schema.GroupVersionKind]Mapping{}
	for _, path := range []string{"/api", "/apis"} {
		list, err := d.ask(ctx, path)
		if err != nil {
			return nil, err
		}
		for _, group := range list.Items {
			for _, version := range group.Versions {
				at := schema.GroupVersion{Group: group.Metadata.Name, Version: version.Version}
				for _, r := range version.Resources {
					found[at.WithKind(r.ResponseKind.Kind)] = Mapping{
						Resource: at.WithResource(r.Resource), Namespaced: r.Scope == "Namespaced",
					}
				}
			}
		}
	}
	return found, nil
}

func (d *discovery) ask(ctx context.Context, path string) (discoveryList, error) {
	operation := "discover what " + path + " serves"
	body, err := d.client.Get().AbsPath(path).SetHeader("Accept", aggregated).DoRaw(ctx)
	if err != nil {
		return discoveryList{}, classify(operation, err)
	}
	if len(body) > maxDiscoveryBytes {
		return discoveryList{}, fmt.Errorf("%s: %w: the answer has %d bytes", operation, ErrInvalid, len(body))
	}
	var list discoveryList
	if err := json.Unmarshal(body, &list); err != nil {
		return discoveryList{}, fmt.Errorf("%s: %w: %w", operation, ErrUnavailable, err)
	}
	if list.Kind != "APIGroupDiscoveryList" {
		return discoveryList{}, fmt.Errorf("%s: %w: the API server does not offer aggregated discovery, which Kubernetes has since 1.30",
			operation, ErrInvalid)
	}
	return list, nil
}

// newDiscovery makes no request yet.
func newDiscovery(settings *rest.Config) (*discovery, error) {
	asker, err := newRaw(settings)
	if err != nil {
		return nil, err
	}
	return &discovery{client: asker}, nil
}
