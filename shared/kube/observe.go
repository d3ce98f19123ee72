package kube

import (
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Phase is where an execution stands.
type Phase string

// The phases of an execution. All but PhaseActive are final.
const (
	PhaseActive           Phase = "active"
	PhaseSucceeded        Phase = "succeeded"
	PhaseFailed           Phase = "failed"
	PhaseDeadlineExceeded Phase = "deadline_exceeded"
)

// Observation is what a Job or a Workflow says about the attempt it runs.
type Observation struct {
	TaskID    string    `json:"taskId"`
	Attempt   int       `json:"attempt"`
	Execution Execution `json:"execution"`
	Phase     Phase     `json:"phase"`
	// StartedAt and FinishedAt have a resolution of one second; zero means not yet.
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	// Reason and Message are the execution's own for a failure, for example BackoffLimitExceeded of a Job or Error of a
	// Workflow. What the container itself left is in its Termination.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Running says that the attempt's pod runs, and not only that there is to be one.
	Running bool `json:"running,omitempty"`
	// Deleting says that the execution's removal has been asked for.
	Deleting bool `json:"deleting,omitempty"`
	// StopsBy is when the pod of a Job that is Deleting must have ended: its grace period is over. Later than that only one
	// on a node that does not answer is there.
	StopsBy time.Time `json:"stopsBy,omitzero"`
	// Overdue says that a Job that is active yet has run past its deadline: its pods are being ended, and are gone once
	// the phase is final.
	Overdue bool `json:"overdue,omitempty"`
}

// Stopping reports whether the pods of an active execution are being ended.
func (o Observation) Stopping() bool { return o.Phase == PhaseActive && (o.Deleting || o.Overdue) }

// Finished reports whether the phase is final.
func (o Observation) Finished() bool { return o.Phase != PhaseActive }

// ParseJSON is Parse for an object in JSON, such as the data of an ApiServerSource event.
func ParseJSON(data []byte) (Observation, error) {
	execution := &unstructured.Unstructured{}
	if err := execution.UnmarshalJSON(data); err != nil {
		return Observation{}, fmt.Errorf("%w: not a Kubernetes object: %w", ErrInvalid, err)
	}
	return Parse(execution)
}

// Parse reads an observation from a Job or a Workflow. What is not one of Graf's is ErrInvalid.
func Parse(execution *unstructured.Unstructured) (Observation, error) {
	if execution.GetKind() == KindWorkflow {
		return ParseWorkflow(execution)
	}
	return ParseJob(execution)
}

// observe reads what executions of every kind say in the same way: which attempt they run.
func observe(execution *unstructured.Unstructured, kind executionKind) (Observation, error) {
	labels := execution.GetLabels()
	// A label may hold any number; what the database cannot hold is none of Graf's.
	attempt, err := strconv.ParseInt(labels[LabelAttempt], 10, 16)
	if execution.GetKind() != kind.name || execution.GroupVersionKind().Group != kind.resource.Group ||
		labels[LabelTaskID] == "" || err != nil || attempt < 1 {
		return Observation{}, fmt.Errorf("%w: %s %s/%s is no %s with the labels %s and %s", ErrInvalid, execution.GetKind(),
			execution.GetNamespace(), execution.GetName(), kind.name, LabelTaskID, LabelAttempt)
	}
	return Observation{
		TaskID: labels[LabelTaskID], Attempt: int(attempt), Execution: executionOf(execution), Phase: PhaseActive,
		Deleting: execution.GetDeletionTimestamp() != nil,
	}, nil
}

// timeAt reads a timestamp; one that is missing or malformed is zero, as for a status not yet written.
func timeAt(fields object, path ...string) time.Time {
	text, _, _ := unstructured.NestedString(fields, path...)
	moment, _ := time.Parse(time.RFC3339, text)
	return moment
}
