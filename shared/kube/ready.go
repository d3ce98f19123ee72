package kube

import (
	"context"
	"fmt"
	"strings"

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
// the conditions Ready, Available, Established or Succeeded. One without such a condition is ready, unless its kind is
// known to get one.
func ReadinessOf(o *unstructured.Unstructured) Readiness {
	observed, found, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	if (found || workload(o)) && observed < o.GetGeneration() {
		return Readiness{Message: "its controller has not seen the change yet"}
	}
	switch o.GetKind() {
	case "Deployment", "StatefulSet", "ReplicaSet":
		return replicasReady(o)
	case "DaemonSet":
		return daemonSetReady(o)
	case "Job":
		return jobReady(o)
	case "Pod":
		return podReady(o)
	case "PersistentVolumeClaim":
		return phaseReady(o, "Bound")
	case "Namespace":
		return phaseReady(o, "Active")
	}
	return conditionsReady(o)
}

// workload tells of the kinds whose controllers always write which generation they have seen. Before they first do,
// their counts are zero, which looks like one that wants no replicas.
func workload(o *unstructured.Unstructured) bool {
	switch o.GetKind() {
	case "Deployment", "StatefulSet", "ReplicaSet", "DaemonSet":
		return strings.HasPrefix(o.GetAPIVersion(), "apps/")
	}
	return false
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
	running, updated := number(o, "status", "replicas"), number(o, "status", "updatedReplicas")
	switch {
	case o.GetKind() == "ReplicaSet", onDelete(o):
		updated = running
	case o.GetKind() == "StatefulSet": // The replicas below the partition are to stay old.
		updated = min(running, updated+number(o, "spec", "updateStrategy", "rollingUpdate", "partition"))
	}
	if running > updated {
		return Readiness{Message: fmt.Sprintf("%d of %d old replicas are still there", running-updated, running)}
	}
	return countsReady(want, updated, number(o, "status", "availableReplicas"))
}

func daemonSetReady(o *unstructured.Unstructured) Readiness {
	want, updated := number(o, "status", "desiredNumberScheduled"), number(o, "status", "updatedNumberScheduled")
	if onDelete(o) {
		updated = want
	}
	return countsReady(want, updated, number(o, "status", "numberAvailable"))
}

// onDelete tells whether pods are replaced only when somebody deletes them, so that none needs to be of the new kind.
func onDelete(o *unstructured.Unstructured) bool {
	strategy, _, _ := unstructured.NestedString(o.Object, "spec", "updateStrategy", "type")
	return strategy == "OnDelete"
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

func podReady(o *unstructured.Unstructured) Readiness {
	switch phase, _, _ := unstructured.NestedString(o.Object, "status", "phase"); phase {
	case "Succeeded":
		return Readiness{Ready: true}
	case "Failed":
		message, _, _ := unstructured.NestedString(o.Object, "status", "message")
		return Readiness{Failed: true, Message: strings.TrimSuffix("it failed: "+message, ": ")}
	}
	return conditionsReady(o)
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
	if name := awaited(o); name != "" {
		return Readiness{Message: "it has no condition " + name + " yet"}
	}
	return Readiness{Ready: true}
}

// awaited is the condition that an object of a known kind gets some time after it was made; "" where none is known.
func awaited(o *unstructured.Unstructured) string {
	group, _, _ := strings.Cut(o.GetAPIVersion(), "/")
	switch kind := o.GetKind(); {
	case kind == "CustomResourceDefinition":
		return "Established"
	case kind == "APIService":
		return "Available"
	case kind == "Pod", strings.HasSuffix(group, ".knative.dev"):
		return "Ready"
	}
	return ""
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

// Await watches a resource until it is ready or has failed, and tells progress whenever its message is another. One that
// is not there is ErrNotFound. It ends with ctx; its error is then ErrUnavailable.
func (c *Client) Await(ctx context.Context, ref manifest.Ref, progress func(Readiness)) (Readiness, error) {
	operation := "wait for " + ref.String()
	client, err := c.object(ctx, ref)
	if err != nil {
		return Readiness{}, fmt.Errorf("%s: %w", operation, err)
	}
	w := waiting{progress: progress}
	for {
		// A watch alone would not tell of a resource that was deleted before it began.
		live, err := client.Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			return w.last, classify(operation, err)
		}
		if w.take(ReadinessOf(live)) {
			return w.last, nil
		}
		watcher, err := client.Watch(ctx, metav1.ListOptions{
			FieldSelector:   fields.OneTermEqualSelector("metadata.name", ref.Name).String(),
			ResourceVersion: live.GetResourceVersion(),
		})
		if err != nil {
			return w.last, classify(operation, err)
		}
		done := w.follow(watcher)
		watcher.Stop()
		if done {
			return w.last, nil
		}
		if ctx.Err() != nil {
			return w.last, fmt.Errorf("%s: %w: %w", operation, ErrUnavailable, context.Cause(ctx))
		}
	}
}

// waiting is one call of Await.
type waiting struct {
	last     Readiness
	progress func(Readiness)
}

// take reports news and whether they are the end.
func (w *waiting) take(now Readiness) bool {
	if now != w.last {
		w.last = now
		w.progress(now)
	}
	return now.Ready || now.Failed
}

// follow reads a watch until it ends, or the resource is ready or failed, which it reports.
func (w *waiting) follow(watcher watch.Interface) bool {
	for event := range watcher.ResultChan() {
		o, ok := event.Object.(*unstructured.Unstructured)
		if !ok || event.Type == watch.Error {
			return false // Begin again.
		}
		now := ReadinessOf(o)
		if event.Type == watch.Deleted {
			now = Readiness{Failed: true, Message: "it was deleted"}
		}
		if w.take(now) {
			return true
		}
	}
	return false
}
