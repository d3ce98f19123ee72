package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/graf-run/graf/shared/manifest"
)

// Readiness is whether a resource does what its manifest asks for.
type Readiness struct {
	Ready bool
	// Failed is whether it never will without another change.
	Failed bool
	// Message says what it waits for, or why it failed.
	Message string
}

// ReadinessOf reads a resource's own status: what kubectl rollout status looks at for workloads, and for other kinds
// the conditions Ready, Available, Established or Succeeded. One without such a condition is ready.
func ReadinessOf(o *unstructured.Unstructured) Readiness {
	observed, found, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	if found && observed < o.GetGeneration() {
		return Readiness{Message: "its controller has not seen the change yet"}
	}
	switch o.GetKind() {
	case "Deployment", "StatefulSet", "ReplicaSet":
		return replicasReady(o)
	case "DaemonSet":
		return countsReady(number(o, "status", "desiredNumberScheduled"), number(o, "status", "updatedNumberScheduled"),
			number(o, "status", "numberAvailable"))
	case "Job":
		return jobReady(o)
	case "PersistentVolumeClaim":
		return phaseReady(o, "Bound")
	case "Namespace":
		return phaseReady(o, "Active")
	}
	return conditionsReady(o)
}

func number(o *unstructured.Unstructured, path ...string) int64 {
	n, _, _ := unstructured.NestedInt64(o.Object, path...)
	return n
}

func replicasReady(o *unstructured.Unstructured) Readiness {
	want, found, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
	if !found {
		want = 1
	}
	if c, ok := condition(o, "Progressing"); ok && c.status == "False" {
		return Readiness{Failed: true, Message: c.text()}
	}
	updated := number(o, "status", "updatedReplicas")
	if o.GetKind() == "ReplicaSet" {
		updated = number(o, "status", "replicas")
	}
	if running := number(o, "status", "replicas"); running > updated {
		return Readiness{Message: fmt.Sprintf("%d of %d old replicas are still there", running-updated, running)}
	}
	return countsReady(want, updated, number(o, "status", "availableReplicas"))
}

func countsReady(want, updated, available int64) Readiness {
	switch {
	case updated < want:
		return Readiness{Message: fmt.Sprintf("%d of %d replicas are updated", updated, want)}
	case available < want:
		return Readiness{Message: fmt.Sprintf("%d of %d replicas are available", available, want)}
	}
	return Readiness{Ready: true}
}

func jobReady(o *unstructured.Unstructured) Readiness {
	if c, ok := condition(o, "Failed"); ok && c.status == "True" {
		return Readiness{Failed: true, Message: c.text()}
	}
	if c, ok := condition(o, "Complete"); ok && c.status == "True" {
		return Readiness{Ready: true}
	}
	return Readiness{Message: "it runs"}
}

func phaseReady(o *unstructured.Unstructured, want string) Readiness {
	phase, _, _ := unstructured.NestedString(o.Object, "status", "phase")
	return Readiness{Ready: phase == want, Message: "its phase is " + phase}
}

func conditionsReady(o *unstructured.Unstructured) Readiness {
	for _, name := range []string{"Ready", "Available", "Established", "Succeeded"} {
		if c, ok := condition(o, name); ok {
			return Readiness{Ready: c.status == "True", Message: c.text()}
		}
	}
	return Readiness{Ready: true}
}

type conditionOf struct{ status, reason, message string }

func (c conditionOf) text() string {
	if c.message == "" {
		return c.reason
	}
	return c.reason + ": " + c.message
}

func condition(o *unstructured.Unstructured, name string) (conditionOf, bool) {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range list {
		fields, _ := item.(object)
		if fields["type"] == name {
			text := func(key string) string { s, _ := fields[key].(string); return s }
			return conditionOf{text("status"), text("reason"), text("message")}, true
		}
	}
	return conditionOf{}, false
}

// Await watches a resource until it is ready or has failed, and tells progress whenever its message is another. It ends
// with ctx; its error is then ErrUnavailable.
func (c *Client) Await(ctx context.Context, ref manifest.Ref, progress func(Readiness)) (Readiness, error) {
	operation := "wait for " + ref.String()
	client, err := c.resource(ctx, ref.APIVersion, ref.Kind, ref.Namespace)
	if err != nil {
		return Readiness{}, fmt.Errorf("%s: %w", operation, err)
	}
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", ref.Name).String()}
	var last Readiness
	for {
		watcher, err := client.Watch(ctx, options)
		if err != nil {
			return last, classify(operation, err)
		}
		done := last.follow(watcher, progress)
		watcher.Stop()
		if done {
			return last, nil
		}
		if ctx.Err() != nil {
			return last, fmt.Errorf("%s: %w: %w", operation, ErrUnavailable, context.Cause(ctx))
		}
	}
}

// follow reads a watch until it ends, or the resource is ready or failed, which it reports.
func (r *Readiness) follow(watcher watch.Interface, progress func(Readiness)) bool {
	for event := range watcher.ResultChan() {
		o, ok := event.Object.(*unstructured.Unstructured)
		if !ok || event.Type == watch.Error {
			return false // Begin again.
		}
		now := ReadinessOf(o)
		if event.Type == watch.Deleted {
			now = Readiness{Failed: true, Message: "it was deleted"}
		}
		if now != *r {
			*r = now
			progress(now)
		}
		if now.Ready || now.Failed {
			return true
		}
	}
	return false
}
