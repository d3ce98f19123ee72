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

// Observation is what a Job object says about the attempt it runs.
type Observation struct {
	TaskID    string    `json:"taskId"`
	Attempt   int       `json:"attempt"`
	Execution Execution `json:"execution"`
	Phase     Phase     `json:"phase"`
	// StartedAt and FinishedAt have a resolution of one second; zero means not yet.
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	// Reason and Message are the Job's own for a failure, for example BackoffLimitExceeded. What the container itself
	// left is in its Termination.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Deleting says that the Job's removal has been asked for.
	Deleting bool `json:"deleting,omitempty"`
}

// Finished reports whether the phase is final.
func (o Observation) Finished() bool { return o.Phase != PhaseActive }

// ParseJobJSON is ParseJob for a Job in JSON, such as the data of an ApiServerSource event.
func ParseJobJSON(data []byte) (Observation, error) {
	job := &unstructured.Unstructured{}
	if err := job.UnmarshalJSON(data); err != nil {
		return Observation{}, fmt.Errorf("%w: not a Kubernetes object: %w", ErrInvalid, err)
	}
	return ParseJob(job)
}

// ParseJob reads an observation from a Job object. What is not one of Graf's Jobs is ErrInvalid.
func ParseJob(job *unstructured.Unstructured) (Observation, error) {
	labels := job.GetLabels()
	// A label may hold any number; what the database cannot hold is none of Graf's.
	attempt, err := strconv.ParseInt(labels[LabelAttempt], 10, 16)
	if job.GetKind() != "Job" || labels[LabelTaskID] == "" || err != nil || attempt < 1 {
		return Observation{}, fmt.Errorf("%w: %s %s/%s is no Job with the labels %s and %s", ErrInvalid,
			job.GetKind(), job.GetNamespace(), job.GetName(), LabelTaskID, LabelAttempt)
	}
	observation := Observation{
		TaskID: labels[LabelTaskID], Attempt: int(attempt), Execution: executionOf(job), Phase: PhaseActive,
		StartedAt: timeAt(job.Object, "status", "startTime"), Deleting: job.GetDeletionTimestamp() != nil,
	}
	conditions, _, _ := unstructured.NestedSlice(job.Object, "status", "conditions")
	for _, condition := range conditions {
		if fields, ok := condition.(object); ok && fields["status"] == "True" {
			observation.apply(fields)
		}
	}
	if completed := timeAt(job.Object, "status", "completionTime"); !completed.IsZero() {
		observation.FinishedAt = completed
	}
	return observation, nil
}

// apply takes over a condition that is true. FailureTarget and SuccessCriteriaMet only announce the end: the pods may
// still run, so they are not taken for it.
func (o *Observation) apply(condition object) {
	reason, _ := condition["reason"].(string)
	switch {
	case condition["type"] == "Complete":
		o.Phase = PhaseSucceeded
	case condition["type"] == "Failed" && reason == "DeadlineExceeded":
		o.Phase = PhaseDeadlineExceeded
	case condition["type"] == "Failed":
		o.Phase = PhaseFailed
	default:
		return
	}
	o.Reason = reason
	o.Message, _ = condition["message"].(string)
	o.FinishedAt = timeAt(condition, "lastTransitionTime")
}

// timeAt reads a timestamp; one that is missing or malformed is zero, as for a status not yet written.
func timeAt(fields object, path ...string) time.Time {
	text, _, _ := unstructured.NestedString(fields, path...)
	moment, _ := time.Parse(time.RFC3339, text)
	return moment
}
