package kubernetes

import (
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
)

// Labels that the Job controller puts on a Job's pods.
const (
	labelJobName       = "batch.kubernetes.io/job-name"
	labelControllerUID = "batch.kubernetes.io/controller-uid"
	legacyJobName      = "job-name"
)

// deadlineMessage is what a Job says that ran past its deadline.
const deadlineMessage = "Job was active longer than specified deadline"

const defaultGraceSeconds = int64(30)

// startJob completes a new Job as the API server and the Job controller would, and returns its pod. The status is active
// from the very first write, so that a Job makes two changes in its life: it appears, and it ends.
func startJob(job *batchv1.Job) *corev1.Pod {
	one := int32(1)
	job.Spec.Parallelism, job.Spec.Completions = &one, &one
	template := &job.Spec.Template
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	maps.Copy(template.Labels, map[string]string{
		labelJobName: job.Name, legacyJobName: job.Name, labelControllerUID: string(job.UID),
	})
	job.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{labelControllerUID: string(job.UID)}}
	started := job.CreationTimestamp
	job.Status = batchv1.JobStatus{Active: 1, StartTime: &started}
	return newPod(job)
}

func newPod(job *batchv1.Job) *corev1.Pod {
	isController := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: job.Name + "-" + rand.String(5), Namespace: job.Namespace,
			Labels: job.Spec.Template.Labels, Annotations: job.Spec.Template.Annotations,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "batch/v1", Kind: "Job", Name: job.Name, UID: job.UID,
				Controller: &isController, BlockOwnerDeletion: &isController,
			}},
		},
		Spec: job.Spec.Template.Spec,
	}
	return pod
}

// startPod completes a new pod: it is pending until the kubelet has what it needs to run it.
func startPod(pod *corev1.Pod) {
	if pod.Spec.TerminationGracePeriodSeconds == nil {
		grace := defaultGraceSeconds
		pod.Spec.TerminationGracePeriodSeconds = &grace
	}
	pod.Spec.NodeName = "local"
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{
		containerStatus(pod, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}),
	}}
}

func containerStatus(pod *corev1.Pod, state corev1.ContainerState) corev1.ContainerStatus {
	container := &pod.Spec.Containers[0]
	return corev1.ContainerStatus{
		Name: container.Name, Image: container.Image, ImageID: container.Image, State: state, Ready: state.Running != nil,
	}
}

// markRunning notes that the process is about to start: from here on, a restart of the platform loses the pod.
func markRunning(pod *corev1.Pod) {
	now := metav1.Now()
	pod.Status.Phase, pod.Status.StartTime = corev1.PodRunning, &now
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		containerStatus(pod, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}),
	}
}

func markTerminated(pod *corev1.Pod, ended corev1.ContainerStateTerminated) {
	pod.Status.Phase = corev1.PodSucceeded
	if ended.ExitCode != 0 {
		pod.Status.Phase = corev1.PodFailed
	}
	if pod.Status.StartTime != nil {
		ended.StartedAt = *pod.Status.StartTime
	}
	ended.FinishedAt = metav1.Now()
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		containerStatus(pod, corev1.ContainerState{Terminated: &ended}),
	}
}

func podFinished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// completeJob sets the conditions that the Job controller sets when the only pod has ended.
func completeJob(job *batchv1.Job) {
	now := metav1.Now()
	job.Status.Active, job.Status.Succeeded, job.Status.CompletionTime = 0, 1, &now
	const message = "Reached expected number of succeeded pods"
	job.Status.Conditions = []batchv1.JobCondition{
		condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, message, now),
		condition(batchv1.JobComplete, batchv1.JobReasonCompletionsReached, message, now),
	}
}

func failJob(job *batchv1.Job, reason, message string) {
	now := metav1.Now()
	job.Status.Active, job.Status.Failed = 0, 1
	job.Status.Conditions = []batchv1.JobCondition{
		condition(batchv1.JobFailureTarget, reason, message, now),
		condition(batchv1.JobFailed, reason, message, now),
	}
}

func condition(kind batchv1.JobConditionType, reason, message string, at metav1.Time) batchv1.JobCondition {
	return batchv1.JobCondition{
		Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message,
		LastProbeTime: at, LastTransitionTime: at,
	}
}

func jobFinished(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed
	})
}

// announceDeadline says of a Job that its pod is being ended because of its deadline.
func announceDeadline(t *transaction, pod *corev1.Pod) error {
	k, uid, owned := jobOf(pod)
	job := &batchv1.Job{}
	if !owned {
		return nil
	}
	if err := t.get(k, job); err != nil || job.UID != uid || len(job.Status.Conditions) > 0 {
		return ignoreNotFound(err)
	}
	job.Status.Conditions = []batchv1.JobCondition{
		condition(batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded, deadlineMessage, metav1.Now()),
	}
	return t.put(jobResource, job)
}

// jobOf returns the key and the UID of the Job that owns a pod.
func jobOf(pod *corev1.Pod) (key, types.UID, bool) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "Job" {
		return key{}, "", false
	}
	return key{jobResource, pod.Namespace, owner.Name}, owner.UID, true
}

// deadlineOf is when the Job's activeDeadlineSeconds are over; false means that it has none.
func deadlineOf(job *batchv1.Job) (time.Time, bool) {
	if job.Spec.ActiveDeadlineSeconds == nil || job.Status.StartTime == nil {
		return time.Time{}, false
	}
	return job.Status.StartTime.Add(time.Duration(*job.Spec.ActiveDeadlineSeconds) * time.Second), true
}
