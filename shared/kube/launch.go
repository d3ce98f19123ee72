package kube

import (
	"context"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// cleanupTimeout bounds the removal of an execution whose Secret the cluster refuses.
const cleanupTimeout = 10 * time.Second

// Launch starts an attempt as what its spec's Kind says. The Job or Workflow comes first, because the others need its
// UID to be owned by it; its pod waits for them. Launching an attempt again gives the same Execution, adds what a crash in between left out, and never runs the
// command twice; the callback token must then be the same as before, for what exists is not rewritten.
//
// Errors wrap ErrInvalid, ErrForbidden, ErrNotFound (no such namespace, or no Argo), ErrConflict (the name belongs to an
// execution that is not this attempt's, or that is being deleted) or ErrUnavailable. Where retrying cannot help, no
// execution is left behind.
func (c *Client) Launch(ctx context.Context, spec JobSpec) (Execution, error) {
	if err := spec.Validate(); err != nil {
		return Execution{}, err
	}
	made, err := c.ensureExecution(ctx, spec)
	if err != nil {
		return Execution{}, err
	}
	execution := executionOf(made)
	for _, dependent := range spec.dependents(execution) {
		if err := c.ensureDependent(ctx, dependent); err != nil {
			c.abandon(ctx, execution, err)
			return Execution{}, err
		}
	}
	return execution, nil
}

func (c *Client) ensureExecution(ctx context.Context, spec JobSpec) (*unstructured.Unstructured, error) {
	kind, execution := spec.kind(), spec.execution()
	client := c.dynamic.Resource(kind.resource).Namespace(spec.Namespace)
	operation := "create " + executionOf(execution).String()
	created, err := client.Create(ctx, execution, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return created, classify(operation, kind.explain(err))
	}
	existing, err := client.Get(ctx, spec.Name(), metav1.GetOptions{})
	if err != nil {
		return nil, classify(operation, err)
	}
	return existing, checkSameAttempt(operation, existing, spec)
}

func checkSameAttempt(operation string, existing *unstructured.Unstructured, spec JobSpec) error {
	labels := existing.GetLabels()
	if labels[LabelTaskID] != spec.TaskID || labels[LabelAttempt] != strconv.Itoa(spec.Attempt) {
		return fmt.Errorf("%s: %w: one of this name exists that is not this attempt's", operation, ErrConflict)
	}
	if existing.GetDeletionTimestamp() != nil {
		return fmt.Errorf("%s: %w: it is being deleted", operation, ErrConflict)
	}
	return nil
}

func (c *Client) ensureDependent(ctx context.Context, dependent *unstructured.Unstructured) error {
	operation := fmt.Sprintf("create %s %s/%s", dependent.GetKind(), dependent.GetNamespace(), dependent.GetName())
	client := c.dynamic.Resource(resourceOf(dependent)).Namespace(dependent.GetNamespace())
	_, err := client.Create(ctx, dependent, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return classify(operation, err)
	}
	existing, err := client.Get(ctx, dependent.GetName(), metav1.GetOptions{})
	if err != nil {
		return classify(operation, err)
	}
	if owner := metav1.GetControllerOf(existing); owner == nil || owner.UID != metav1.GetControllerOf(dependent).UID {
		return fmt.Errorf("%s: %w: one of this name belongs to another owner", operation, ErrConflict)
	}
	return nil
}

func resourceOf(dependent *unstructured.Unstructured) schema.GroupVersionResource {
	if dependent.GetKind() == "Secret" {
		return secrets
	}
	return configMaps
}

// abandon removes an execution that can never start, lest its pod wait for its Secret until the deadline. It is best
// effort: the deadline ends it in any case.
func (c *Client) abandon(ctx context.Context, execution Execution, cause error) {
	if retryable(cause) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	_ = c.Delete(ctx, execution)
}
