package kube

import (
	"context"
	"fmt"
	"io"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Log reads what the execution's container has written until now, of the pod that Termination tells of; of an execution
// that was deleted as long as its pod is being ended. The caller closes it. Its context bounds the reading, as
// Config.Timeout does not. The error is ErrNotFound once the pod is gone, and ErrInvalid of a container that has not begun; of a pod
// that no node has taken there is nothing to read.
func (c *Client) Log(ctx context.Context, execution Execution) (io.ReadCloser, error) {
	pod, err := c.pod(ctx, execution)
	if err != nil {
		return nil, err
	}
	client, err := c.streamer()
	if err != nil {
		return nil, err
	}
	stream, err := client.Get().AbsPath("/api/v1/namespaces", pod.GetNamespace(), "pods", pod.GetName(), "log").
		Param("container", execution.kind().container).Stream(ctx)
	if err != nil {
		return nil, classify("read the log of "+execution.String(), err)
	}
	return stream, nil
}

// streamer is a client whose answers may take as long as their context lets them.
func (c *Client) streamer() (rest.Interface, error) {
	settings := rest.CopyConfig(c.settings)
	settings.Timeout = 0
	return newRaw(settings)
}

// newRaw is a client of paths rather than of resources. It makes no request yet.
func newRaw(settings *rest.Config) (rest.Interface, error) {
	settings = dynamic.ConfigFor(settings)
	client, err := rest.HTTPClientFor(settings)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	raw, err := rest.UnversionedRESTClientForConfigAndClient(settings, client)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	return raw, nil
}
