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

// cleanupTimeout bounds the removal of a Job whose Secret the cluster refuses.
const cleanupTimeout = 10 * time.Second

// Launch starts an attempt. The Job comes first, because the others need its UID to be owned by it; its pod waits for
// them. Launching an attempt again gives the same Execution, adds what a crash in between left out, and never runs the
// command twice; the callback token must then be the same as before, for what exists is not rewritten.
//
// Errors wrap ErrInvalid, ErrForbidden, ErrNotFound (no such namespace), ErrConflict (the name belongs to a Job that is
// not this attempt's, or that is being deleted) or ErrUnavailable. Where retrying cannot help, no Job is left behind.
func (c *Client) Launch(ctx context.Context, spec JobSpec) (Execution, error) {
	if err := spec.Validate(); err != nil {
		return Execution{}, err
	}
	job, err := c.ensureJob(ctx, spec)
	if err != nil {
		return Execution{}, err
	}
	execution := executionOf(job)
	for _, dependent := range spec.dependents(execution) {
		if err := c.ensureDependent(ctx, dependent); err != nil {
			c.abandon(ctx, execution, err)
			return Execution{}, err
		}
	}
	return execution, nil
}

func (c *Client) ensureJob(ctx context.Context, spec JobSpec) (*unstructured.Unstructured, error) {
	client, job := c.dynamic.Resource(jobs).Namespace(spec.Namespace), spec.job()
	operation := "create Job " + spec.Namespace + "/" + spec.Name()
	created, err := client.Create(ctx, job, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return created, classify(operation, err)
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
		return fmt.Errorf("%s: %w: a Job of this name exists that is not this attempt's", operation, ErrConflict)
	}
	if existing.GetDeletionTimestamp() != nil {
		return fmt.Errorf("%s: %w: the Job is being deleted", operation, ErrConflict)
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

// abandon removes a Job that can never start, lest its pod wait for its Secret until the deadline. It is best effort:
// the deadline ends the Job in any case.
func (c *Client) abandon(ctx context.Context, execution Execution, cause error) {
	if retryable(cause) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	_ = c.Delete(ctx, execution)
}

func executionOf(job *unstructured.Unstructured) Execution {
	return Execution{Kind: "Job", Name: job.GetName(), Namespace: job.GetNamespace(), UID: string(job.GetUID())}
}
