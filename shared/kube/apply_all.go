package kube

import (
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/manifest"
)

const (
	// servedWithin is how long manifests that need a namespace or a definition which was just made are tried, together,
	// until the API server serves these.
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

// applyOnceServed is Apply for a manifest whose namespace, or the definition of whose kind, was just made: until then the
// API server may not know it, or the rights on it.
func (c *Client) applyOnceServed(
	ctx context.Context, content map[string]any, options ApplyOptions, until time.Time,
) (*unstructured.Unstructured, error) {
	for {
		applied, err := c.Apply(ctx, content, options)
		if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrForbidden) || time.Now().After(until) {
			return applied, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(serveRetry):
		}
	}
}

// resolveOnceServed waits until the API server serves the kinds of manifests, until then: applying them says what is wrong.
func (c *Client) resolveOnceServed(ctx context.Context, manifests []map[string]any, until time.Time) error {
	for _, content := range manifests {
		o := unstructured.Unstructured{Object: content}
		for {
			_, err := c.Resolve(ctx, o.GetAPIVersion(), o.GetKind())
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			if err == nil || time.Now().After(until) {
				break
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(serveRetry):
			}
		}
	}
	return nil
}

// ApplyAll applies manifests in the order in which they need each other, and says which were. Before it changes
// anything, it has the API server try each that does not need another one of them. Once those that others need are
// applied and served, and before the others are, it calls provided, which may grant rights on them.
func (c *Client) ApplyAll(
	ctx context.Context, manifests []map[string]any, options ApplyOptions, provided func(context.Context) error,
) ([]manifest.Ref, error) {
	SortForApply(manifests)
	needy := func(content map[string]any) bool { return Provider(manifests, content) >= 0 }
	dry := options
	dry.DryRun = true
	for _, content := range manifests {
		if needy(content) {
			continue
		}
		if _, err := c.Apply(ctx, content, dry); err != nil {
			return nil, err
		}
	}
	if options.DryRun {
		return nil, nil
	}
	// Namespaces and definitions are the first, so that all of them are there before what needs them.
	first := slices.IndexFunc(manifests, needy)
	applied := make([]manifest.Ref, 0, len(manifests))
	var served time.Time
	for i, content := range manifests {
		if i == first {
			served = time.Now().Add(servedWithin)
			if err := errors.Join(c.resolveOnceServed(ctx, manifests[i:], served), provided(ctx)); err != nil {
				return applied, err
			}
		}
		until := time.Time{} // long past: what needs none of the others is tried once
		if needy(content) {
			until = served
		}
		result, err := c.applyOnceServed(ctx, content, options, until)
		if err != nil {
			return applied, err
		}
		applied = append(applied, refOf(result))
	}
	return applied, nil
}
