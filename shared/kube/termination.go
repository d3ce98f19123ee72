package kube

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ExitUnknown is the exit code of a container that never ran or whose end nobody saw.
const ExitUnknown = -1

// Termination is how an execution's container ended.
type Termination struct {
	// ExitCode is the process's own, 128 plus the signal's number when a signal ended it, or ExitUnknown.
	ExitCode int `json:"exitCode"`
	// Signal is the number of the signal that ended it, or 0. Container runtimes tell it by the exit code alone.
	Signal    int  `json:"signal,omitempty"`
	OOMKilled bool `json:"oomKilled,omitempty"`
	// Reason is the kubelet's word, such as Completed, Error, OOMKilled, StartError, Evicted or ImagePullBackOff.
	Reason string `json:"reason,omitempty"`
	// Message is the tail of the log (at most 2 KiB or 80 lines) of a container that failed, or why it could not run.
	Message    string    `json:"message,omitempty"`
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
}

// Termination reads from the execution's pod how its container ended: of several pods, which a Workflow may have, from the
// newest that failed, or else from the newest. The pod is gone, and the answer ErrNotFound, once a Job was deleted, ran past
// its deadline or outlived its time to live, or a Workflow was deleted, outlived its own or is set to collect its pods.
func (c *Client) Termination(ctx context.Context, execution Execution) (Termination, error) {
	pod, err := c.pod(ctx, execution)
	if err != nil {
		return Termination{}, err
	}
	return parsePod(pod, execution.kind().container), nil
}

// pod is the one that Termination and Log tell of.
func (c *Client) pod(ctx context.Context, execution Execution) (*unstructured.Unstructured, error) {
	operation := "list pods of " + execution.String()
	list, err := c.dynamic.Resource(pods).Namespace(execution.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: execution.kind().podLabel + "=" + execution.Name,
	})
	if err != nil {
		return nil, classify(operation, err)
	}
	var chosen *unstructured.Unstructured
	for i := range list.Items {
		if pod := &list.Items[i]; ownedBy(pod, execution) && (chosen == nil || tellsMore(pod, chosen)) {
			chosen = pod
		}
	}
	if chosen == nil {
		return nil, fmt.Errorf("%s: %w: there is none", operation, ErrNotFound)
	}
	return chosen, nil
}

func tellsMore(pod, than *unstructured.Unstructured) bool {
	if failed := hasFailed(pod); failed != hasFailed(than) {
		return failed
	}
	return than.GetCreationTimestamp().Time.Before(pod.GetCreationTimestamp().Time)
}

func hasFailed(pod *unstructured.Unstructured) bool {
	phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase")
	return phase == "Failed"
}

func ownedBy(pod *unstructured.Unstructured, execution Execution) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && (execution.UID == "" || string(owner.UID) == execution.UID)
}

func parsePod(pod *unstructured.Unstructured, container string) Termination {
	termination := Termination{ExitCode: ExitUnknown}
	termination.Reason, _, _ = unstructured.NestedString(pod.Object, "status", "reason")
	termination.Message, _, _ = unstructured.NestedString(pod.Object, "status", "message")
	statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
	index := slices.IndexFunc(statuses, func(status any) bool {
		fields, _ := status.(object)
		return fields["name"] == container
	})
	if index < 0 {
		return termination
	}
	status, _ := statuses[index].(object)
	if ended, found, _ := unstructured.NestedMap(status, "state", "terminated"); found {
		termination.apply(ended)
	} else if waiting, found, _ := unstructured.NestedMap(status, "state", "waiting"); found && termination.Reason == "" {
		termination.Reason, _ = waiting["reason"].(string)
		termination.Message, _ = waiting["message"].(string)
	}
	return termination
}

// apply takes over a container's terminated state; a reason of the whole pod, such as Evicted, says more and stays.
func (t *Termination) apply(ended object) {
	code, _ := ended["exitCode"].(int64)
	signal, _ := ended["signal"].(int64)
	if signal == 0 && code > 128 && code <= 128+64 {
		signal = code - 128
	}
	t.ExitCode, t.Signal = int(code), int(signal)
	reason, _ := ended["reason"].(string)
	t.OOMKilled = reason == "OOMKilled"
	if t.Reason == "" {
		t.Reason = reason
	}
	if message, _ := ended["message"].(string); message != "" {
		t.Message = message
	}
	t.StartedAt, t.FinishedAt = timeAt(ended, "startedAt"), timeAt(ended, "finishedAt")
}
