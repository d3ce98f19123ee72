package kube

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func (s JobSpec) job() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: object{
		"apiVersion": jobKind.apiVersion(),
		"kind":       KindJob,
		"metadata":   object{"name": s.Name(), "namespace": s.Namespace, "labels": s.labels()},
		"spec": object{
			// Graf decides about another attempt; Kubernetes must not run the command a second time.
			"backoffLimit":            int64(0),
			"activeDeadlineSeconds":   seconds(s.Timeout, 0),
			"ttlSecondsAfterFinished": seconds(s.TTL, DefaultTTL),
			"template":                object{"metadata": object{"labels": s.labels()}, "spec": s.pod()},
		},
	}}
}

// ParseJob reads an observation from a Job object. What is not one of Graf's Jobs is ErrInvalid.
func ParseJob(job *unstructured.Unstructured) (Observation, error) {
	observation, err := observe(job, jobKind)
	if err != nil {
		return Observation{}, err
	}
	observation.StartedAt = timeAt(job.Object, "status", "startTime")
	observation.Running = number(job, "status", "ready") > 0
	if deleted := job.GetDeletionTimestamp(); deleted != nil {
		grace := number(job, "spec", "template", "spec", "terminationGracePeriodSeconds")
		observation.StopsBy = deleted.Add(time.Duration(grace) * time.Second)
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
// still run, so they are not taken for it. Of a deadline, FailureTarget says that the pods are being ended.
func (o *Observation) apply(condition object) {
	reason, _ := condition["reason"].(string)
	switch {
	case condition["type"] == "Complete":
		o.Phase = PhaseSucceeded
	case condition["type"] == "Failed" && reason == reasonDeadline:
		o.Phase = PhaseDeadlineExceeded
	case condition["type"] == "Failed":
		o.Phase = PhaseFailed
	case condition["type"] == "FailureTarget" && reason == reasonDeadline:
		o.Overdue = true
		return
	default:
		return
	}
	o.Reason = reason
	o.Message, _ = condition["message"].(string)
	o.FinishedAt = timeAt(condition, "lastTransitionTime")
}
