package kube

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/manifest"
)

const (
	// servedWithin is how long a manifest that needs a namespace or a definition which was just made is tried until
	// the API server serves it.
	servedWithin = 15 * time.Second
	serveRetry   = 250 * time.Millisecond
)

// Provider is the one of manifests that another needs to be there first: its namespace, or the definition of its kind.
// -1: none of them is.
func Provider(manifests []map[string]any, needy map[string]any) int {
	o := unstructured.Unstructured{Object: needy}
	for i, content := range manifests {
		p := unstructured.Unstructured{Object: content}
		switch p.GroupVersionKind().GroupKind().String() {
		case "Namespace":
			if o.GetNamespace() != "" && p.GetName() == o.GetNamespace() {
				return i
			}
		case "CustomResourceDefinition.apiextensions.k8s.io":
			group, _, _ := unstructured.NestedString(content, "spec", "group")
			kind, _, _ := unstructured.NestedString(content, "spec", "names", "kind")
			if gk := o.GroupVersionKind().GroupKind(); gk.Group == group && gk.Kind == kind {
				return i
			}
		}
	}
	return -1
}

// ApplyOnceServed is Apply for a manifest whose namespace, or the definition of whose kind, was just made: the API
// server may take a moment to know it.
func (c *Client) ApplyOnceServed(ctx context.Context, content map[string]any, options ApplyOptions) (*unstructured.Unstructured, error) {
	for until := time.Now().Add(servedWithin); ; {
		applied, err := c.Apply(ctx, content, options)
		if !errors.Is(err, ErrNotFound) || time.Now().After(until) {
			return applied, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(serveRetry):
		}
	}
}

// ApplyAll applies manifests in the order in which they need each other, and says which were. Before it changes
// anything, it has the API server try each that does not need another one of them.
func (c *Client) ApplyAll(ctx context.Context, manifests []map[string]any, options ApplyOptions) ([]manifest.Ref, error) {
	SortForApply(manifests)
	dry := options
	dry.DryRun = true
	for _, content := range manifests {
		if Provider(manifests, content) >= 0 {
			continue
		}
		if _, err := c.Apply(ctx, content, dry); err != nil {
			return nil, err
		}
	}
	if options.DryRun {
		return nil, nil
	}
	applied := make([]manifest.Ref, 0, len(manifests))
	for _, content := range manifests {
		apply := c.Apply
		if Provider(manifests, content) >= 0 {
			apply = c.ApplyOnceServed
		}
		result, err := apply(ctx, content, options)
		if err != nil {
			return applied, err
		}
		applied = append(applied, refOf(result))
	}
	return applied, nil
}
