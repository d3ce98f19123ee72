package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// patience bounds the waiting for one thing.
const patience = 3 * time.Minute

// observe lists objects and then watches them until done says so. It begins anew
// where the API server ends the watch, as it may at any time.
func (e *environment) observe(ctx context.Context, what string, resource schema.GroupVersionResource, namespace string,
	selection metav1.ListOptions, done func(map[string]*unstructured.Unstructured) bool,
) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("waited %v in vain: %s", patience, what))
	defer cancel()
	client := e.cluster.Resource(resource).Namespace(namespace)
	for {
		list, err := client.List(ctx, selection)
		if err != nil {
			return because(ctx, err)
		}
		known := map[string]*unstructured.Unstructured{}
		for i := range list.Items {
			known[list.Items[i].GetName()] = &list.Items[i]
		}
		if done(known) {
			return nil
		}
		selection.ResourceVersion = list.GetResourceVersion()
		watching, err := client.Watch(ctx, selection)
		if err != nil {
			return because(ctx, err)
		}
		ended := follow(ctx, watching, known, done)
		watching.Stop()
		if ended || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		selection.ResourceVersion = ""
	}
}

// follow keeps known up to date until done says so, and tells whether it did.
func follow(ctx context.Context, watching watch.Interface, known map[string]*unstructured.Unstructured,
	done func(map[string]*unstructured.Unstructured) bool,
) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case change, open := <-watching.ResultChan():
			o, isObject := change.Object.(*unstructured.Unstructured)
			if !open || !isObject || change.Type == watch.Error {
				return false
			}
			if known[o.GetName()] = o; change.Type == watch.Deleted {
				delete(known, o.GetName())
			}
			if done(known) {
				return true
			}
		}
	}
}

// because prefers the reason of a context's end to its consequence.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// awaitReady waits until an object's controller calls it ready as it is now.
func (e *environment) awaitReady(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	var found *unstructured.Unstructured
	err := e.observe(ctx, resource.Resource+" "+namespace+"/"+name+" is ready", resource, namespace,
		metav1.ListOptions{FieldSelector: "metadata.name=" + name},
		func(known map[string]*unstructured.Unstructured) bool {
			found = known[name]
			return found != nil && ready(found)
		})
	return found, err
}

// awaitZero waits until the pods with these labels are gone.
func (e *environment) awaitZero(ctx context.Context, namespace, selector string) error {
	return e.observe(ctx, "no pods of "+selector, pods, namespace, metav1.ListOptions{LabelSelector: selector},
		func(known map[string]*unstructured.Unstructured) bool { return len(known) == 0 })
}

// ready says whether the object is ready as it is now.
func ready(o *unstructured.Unstructured) bool {
	observed, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	return observed == o.GetGeneration() && condition(o, "Ready")
}

// condition says whether a condition of the object holds.
func condition(o *unstructured.Unstructured, name string) bool {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if fields, ok := c.(object); ok && fields["type"] == name {
			return fields["status"] == "True"
		}
	}
	return false
}
