package kubernetes

import (
	"errors"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// Why a pod's process was ended. errPlatformStopped is not written down: the next start finds the pod lost.
var (
	errPodDeleted       = errors.New("the pod was deleted")
	errDeadlineExceeded = errors.New("the Job was active longer than its deadline")
	errPlatformStopped  = errors.New("the platform stops")
)

// insert creates an object with all that comes with it and returns the pod to run, if there is one.
func insert(t *transaction, r *resource, o object) (*corev1.Pod, error) {
	now := metav1.Now().Rfc3339Copy()
	o.SetUID(uuid.NewUUID())
	o.SetCreationTimestamp(now)
	o.SetDeletionTimestamp(nil)
	if r.namespaced && !t.exists(key{namespaceResource, "", o.GetNamespace()}) {
		return nil, key{namespaceResource, "", o.GetNamespace()}.notFound()
	}
	switch o := o.(type) {
	case *batchv1.Job:
		pod := startJob(o)
		if err := t.create(r, o); err != nil {
			return nil, err
		}
		pod.UID, pod.CreationTimestamp = uuid.NewUUID(), now
		startPod(pod)
		return pod, t.create(podResource, pod)
	case *corev1.Pod:
		startPod(o)
		return o, t.create(r, o)
	default:
		if err := t.create(r, o); err != nil || ownersExist(t, o) {
			return nil, err
		}
		// The garbage collector would find the owner gone and remove the object at once.
		return nil, t.remove(keyOf(r, o))
	}
}

// ownersExist reports whether an object has no owner or at least one that is there, going by its UID.
func ownersExist(t *transaction, o object) bool {
	for _, owner := range o.GetOwnerReferences() {
		r := resourceOfKind(owner.Kind)
		if r == nil {
			return true // not a type that this cluster can judge
		}
		found := r.empty()
		if t.get(key{r, o.GetNamespace(), owner.Name}, found) == nil && found.GetUID() == owner.UID {
			return true
		}
	}
	return len(o.GetOwnerReferences()) == 0
}

// erase deletes an object and what it owns, as far as no process runs for it; it returns the pods to stop, which are
// erased when their processes have ended. In the foreground the object itself stays until then.
func erase(t *transaction, k key, foreground bool) (stop []types.UID, err error) {
	o := k.resource.empty()
	if err := t.get(k, o); err != nil {
		return nil, err
	}
	if pod, ok := o.(*corev1.Pod); ok && !podFinished(pod) {
		return []types.UID{pod.UID}, markDeleted(t, podResource, pod)
	}
	for _, dependent := range t.owned(string(o.GetUID())) {
		pods, err := erase(t, dependent, false)
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
		stop = append(stop, pods...)
	}
	if foreground && len(stop) > 0 {
		o.SetFinalizers([]string{metav1.FinalizerDeleteDependents})
		return stop, markDeleted(t, k.resource, o)
	}
	return stop, t.remove(k)
}

func markDeleted(t *transaction, r *resource, o object) error {
	if o.GetDeletionTimestamp() != nil {
		return nil
	}
	now := metav1.Now()
	o.SetDeletionTimestamp(&now)
	return t.put(r, o)
}

// settle writes down how a pod ended, and its Job with it. cause is nil when the process ended by itself.
func settle(t *transaction, pod *corev1.Pod, ended corev1.ContainerStateTerminated, cause error) error {
	k := keyOf(podResource, pod)
	current := &corev1.Pod{}
	if err := t.get(k, current); err != nil || current.UID != pod.UID {
		return ignoreNotFound(err)
	}
	gone := current.DeletionTimestamp != nil || errors.Is(cause, errDeadlineExceeded)
	if !gone {
		markTerminated(current, ended)
		if err := t.put(podResource, current); err != nil {
			return err
		}
	} else if err := t.remove(k); err != nil {
		return err
	}
	return settleJob(t, current, ended, cause)
}

func settleJob(t *transaction, pod *corev1.Pod, ended corev1.ContainerStateTerminated, cause error) error {
	k, uid, owned := jobOf(pod)
	job := &batchv1.Job{}
	if !owned {
		return nil
	}
	if err := t.get(k, job); err != nil || job.UID != uid || jobFinished(job) {
		return ignoreNotFound(err)
	}
	const limit = "Job has reached the specified backoff limit"
	switch {
	case errors.Is(cause, errDeadlineExceeded):
		failJob(job, batchv1.JobReasonDeadlineExceeded, deadlineMessage)
	case cause != nil:
		failJob(job, batchv1.JobReasonBackoffLimitExceeded, limit+": "+cause.Error())
	case ended.ExitCode != 0:
		failJob(job, batchv1.JobReasonBackoffLimitExceeded, limit)
	default:
		completeJob(job)
	}
	if err := t.put(jobResource, job); err != nil {
		return err
	}
	if job.DeletionTimestamp != nil {
		_, err := erase(t, k, false)
		return err
	}
	if ttl := job.Spec.TTLSecondsAfterFinished; ttl != nil {
		return t.expire(k, string(uid), time.Now().Add(time.Duration(*ttl)*time.Second))
	}
	return nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
