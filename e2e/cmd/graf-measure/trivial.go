package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The trivial functions: one to start from zero, two that make the chain.
const (
	trivial = "trivial"
	first   = "first"
	second  = "second"
)

// deployTrivial makes the namespace, the trivial functions and a Broker with the
// chain's Triggers, and waits for them.
func (e *environment) deployTrivial(ctx context.Context) error {
	note("deploys %s, %s, %s and a Broker in namespace %s", trivial, first, second, own)
	if err := e.removeTrivial(ctx); err != nil { // of a run that was cut off
		return err
	}
	if err := e.create(ctx, namespaces, object{
		"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": own, "labels": object{
			"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted",
		}},
	}); err != nil {
		return err
	}
	if err := e.create(ctx, serviceAccounts, object{
		"apiVersion": "v1", "kind": "ServiceAccount",
		"metadata": object{"name": trivial, "namespace": own}, "automountServiceAccountToken": false,
	}); err != nil {
		return err
	}
	model, err := e.awaitReady(ctx, functions, graf, "graf-submit")
	if err != nil {
		return err
	}
	for _, name := range []string{trivial, first, second} {
		service, err := like(model, name, e.options.image)
		if err != nil {
			return err
		}
		if err := e.create(ctx, functions, service); err != nil {
			return err
		}
	}
	if err := e.deployChain(ctx); err != nil {
		return err
	}
	for _, name := range []string{trivial, first, second} {
		if _, err := e.functionURL(ctx, own, name); err != nil {
			return err
		}
	}
	return nil
}

// deployChain makes a Broker with the settings of Graf's, and two Triggers: what is
// sent is for the first function, what that answers with for the second.
func (e *environment) deployChain(ctx context.Context) error {
	model, err := e.awaitReady(ctx, brokers, graf, "default")
	if err != nil {
		return err
	}
	delivery := object{"retry": int64(5), "backoffPolicy": "exponential", "backoffDelay": "PT0.5S", "timeout": "PT30S"}
	annotations := object{}
	for name, value := range model.GetAnnotations() {
		if name == brokerClass || strings.HasPrefix(name, channelSettings) {
			annotations[name] = value
		}
	}
	spec := object{"delivery": delivery}
	if config, found, _ := unstructured.NestedMap(model.Object, "spec", "config"); found {
		spec["config"] = config
	}
	if err := e.create(ctx, brokers, object{
		"apiVersion": "eventing.knative.dev/v1", "kind": "Broker",
		"metadata": object{"name": "default", "namespace": own, "annotations": annotations}, "spec": spec,
	}); err != nil {
		return err
	}
	for name, typ := range map[string]string{first: firstType, second: secondType} {
		if err := e.create(ctx, triggers, object{
			"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger",
			"metadata": object{"name": name, "namespace": own},
			"spec": object{
				"broker": "default", "delivery": delivery, "filter": object{"attributes": object{"type": typ}},
				"subscriber": object{"ref": object{"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": name}},
			},
		}); err != nil {
			return err
		}
	}
	for _, name := range []string{first, second} {
		if _, err := e.awaitReady(ctx, triggers, own, name); err != nil {
			return err
		}
	}
	return nil
}

// Annotations of a Broker: its class, and those that it hands on to its channel.
const (
	brokerClass     = "eventing.knative.dev/broker.class"
	channelSettings = "messaging.knative.dev/"
)

// like makes a function with the settings of one of Graf's: its scale bounds,
// concurrency, probes, resources and security, but none of its configuration. Its
// service account has no token in the pod either, which costs a start 0.25 s.
// The chain's second function has one pod at most, since it counts.
func like(model *unstructured.Unstructured, name, image string) (object, error) {
	template, found, err := unstructured.NestedMap(model.Object, "spec", "template")
	if err != nil || !found {
		return nil, fmt.Errorf("function %s has no spec.template", model.GetName())
	}
	annotations, _, _ := unstructured.NestedMap(template, "metadata", "annotations")
	if name == second {
		annotations["autoscaling.knative.dev/max-scale"] = "1"
	}
	template["metadata"] = object{"annotations": annotations}
	spec, _, _ := unstructured.NestedMap(template, "spec")
	spec["serviceAccountName"] = trivial
	containers, _, _ := unstructured.NestedSlice(spec, "containers")
	container, ok := containers[0].(object)
	if !ok {
		return nil, fmt.Errorf("function %s has no container", model.GetName())
	}
	delete(container, "envFrom")
	container["env"] = []any{object{"name": "ADDRESS", "value": "0.0.0.0"}} // as func sets it
	container["image"] = image
	spec["containers"] = []any{container}
	template["spec"] = spec
	return object{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": object{"name": name, "namespace": own}, "spec": object{"template": template},
	}, nil
}

func (e *environment) create(ctx context.Context, resource schema.GroupVersionResource, o object) error {
	u := &unstructured.Unstructured{Object: o}
	_, err := e.cluster.Resource(resource).Namespace(u.GetNamespace()).Create(ctx, u, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return nil
}

// removeTrivial removes the namespace and waits until it is gone.
func (e *environment) removeTrivial(ctx context.Context) error {
	err := e.cluster.Resource(namespaces).Delete(ctx, own, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return e.observe(ctx, "namespace "+own+" is gone", namespaces, "", metav1.ListOptions{FieldSelector: "metadata.name=" + own},
		func(known map[string]*unstructured.Unstructured) bool { return len(known) == 0 })
}

// await waits for a clock to come round.
func await(ctx context.Context, tick *time.Ticker) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-tick.C:
		return nil
	}
}
