package kube

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

var (
	pods       = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	secrets    = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
)

// pageSize bounds one page of a list.
const pageSize = 500

// Execution names the object that runs an attempt. The UID tells it from a later object of the same name.
type Execution struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	UID       string `json:"uid"`
}

// Client runs attempts on one cluster. It is safe for concurrent use.
type Client struct {
	settings  *rest.Config
	dynamic   dynamic.Interface
	discovery *discovery
	// snapshotBytes bounds the manifests of one snapshot.
	snapshotBytes int64
}

// New returns a client for the cluster that config names. It makes no request yet.
func New(config Config) (*Client, error) {
	settings, err := config.REST()
	if err != nil {
		return nil, err
	}
	client, err := NewForConfig(settings)
	if err == nil && config.SnapshotBytes > 0 {
		client.snapshotBytes = config.SnapshotBytes
	}
	return client, err
}

// NewForConfig returns a client with client-go's own settings, for a caller that has them already.
func NewForConfig(settings *rest.Config) (*Client, error) {
	client, err := dynamic.NewForConfig(settings)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	known, err := newDiscovery(settings)
	if err != nil {
		return nil, err
	}
	return &Client{settings: settings, dynamic: client, discovery: known, snapshotBytes: defaultSnapshotBytes}, nil
}

// As returns a client that acts as a service account, with its rights and no others. It makes no request yet. Errors of
// its calls are ErrForbidden, too, where c itself may not act as that account.
func (c *Client) As(namespace, serviceAccount string) (*Client, error) {
	settings := rest.CopyConfig(c.settings)
	settings.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":" + serviceAccount}
	client, err := dynamic.NewForConfig(settings)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	return &Client{settings: settings, dynamic: client, discovery: c.discovery, snapshotBytes: c.snapshotBytes}, nil
}

// Delete ends an execution: its pods get SIGTERM, their grace period, then SIGKILL, and all that it owns is removed.
// It returns once the API server has taken the request; an execution that is already gone is no error.
//
// A Job is deleted in the foreground: until its pod has ended it is there, and Deleting, so that what an agent does on
// SIGTERM, its last reports and artifacts, is of a task that has not ended, and its slot is not given to another.
//
// A Workflow is deleted, too, rather than told to shut down (spec.shutdown): the cluster's garbage collector then ends its
// pods as it does a Job's, whether or not Argo's controller runs. Terminate has that controller send SIGTERM by exec into
// each container, so that a cancellation would depend on it, and Stop lets exit handlers go on without a bound. It is gone at
// once: as long as that controller sees it, a template's retries and exit handlers might start pods anew.
func (c *Client) Delete(ctx context.Context, execution Execution) error {
	propagation := metav1.DeletePropagationForeground
	if execution.kind() == workflowKind {
		propagation = metav1.DeletePropagationBackground
	}
	options := metav1.DeleteOptions{PropagationPolicy: &propagation}
	if execution.UID != "" {
		uid := types.UID(execution.UID)
		options.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	err := c.executions(execution).Delete(ctx, execution.Name, options)
	// A conflict is the UID precondition: the name belongs to another execution by now, so this one is gone.
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return classify("delete "+execution.String(), err)
}

// Get reads an execution's present state. An execution that is gone, or whose name another one has taken, is
// ErrNotFound.
func (c *Client) Get(ctx context.Context, execution Execution) (Observation, error) {
	operation := "get " + execution.String()
	found, err := c.executions(execution).Get(ctx, execution.Name, metav1.GetOptions{})
	if err != nil {
		return Observation{}, classify(operation, err)
	}
	if execution.UID != "" && string(found.GetUID()) != execution.UID {
		return Observation{}, fmt.Errorf("%s: %w: its uid is not %s", operation, ErrNotFound, execution.UID)
	}
	return Parse(found)
}

func (c *Client) executions(execution Execution) dynamic.ResourceInterface {
	return c.dynamic.Resource(execution.kind().resource).Namespace(execution.Namespace)
}

// List reads the executions in a namespace, page by page. Those that carry Graf's managed-by label but not its others are
// left out: they are not of this package's making. So are Workflows where the cluster has no Argo or the caller no right
// to them, as on most clusters; that an attempt has none must be confirmed by Get.
func (c *Client) List(ctx context.Context, namespace string) ([]Observation, error) {
	all, err := c.list(ctx, jobKind, namespace)
	if err != nil {
		return nil, err
	}
	workflows, err := c.list(ctx, workflowKind, namespace)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrForbidden) {
		return all, nil
	}
	return append(all, workflows...), err
}

func (c *Client) list(ctx context.Context, kind executionKind, namespace string) ([]Observation, error) {
	options := metav1.ListOptions{LabelSelector: LabelManagedBy + "=" + ManagedBy, Limit: pageSize}
	var all []Observation
	for {
		page, err := c.dynamic.Resource(kind.resource).Namespace(namespace).List(ctx, options)
		if err != nil {
			return nil, classify("list "+kind.name+"s", err)
		}
		all = append(all, parseEach(page.Items)...)
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return all, nil
		}
	}
}

func parseEach(items []unstructured.Unstructured) []Observation {
	var observations []Observation
	for i := range items {
		if observation, err := Parse(&items[i]); err == nil {
			observations = append(observations, observation)
		}
	}
	return observations
}

// retryable reports whether the same call may succeed later.
func retryable(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrConflict)
}
