package kubernetes

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// kubelet runs pods as local processes: one goroutine per pod, from pending to its end.
type kubelet struct {
	store    *store
	folders  folders
	path     string // PATH of the processes
	logBytes int64
	logger   *slog.Logger
	slots    chan struct{}
	spawner  *spawner
	secrets  map[string]map[string][]byte // by name; they are no objects

	// removals are the UIDs of pods that are gone; removing their logs takes time that no write should wait for.
	removals chan string
	quit     chan struct{}
	removing sync.WaitGroup

	mu      sync.Mutex
	cancels map[types.UID]context.CancelCauseFunc
	stopped bool
	pods    sync.WaitGroup
}

func newKubelet(s *store, f folders, options Options) *kubelet {
	k := &kubelet{
		store: s, folders: f, path: options.Path, logBytes: options.LogBytes,
		logger: options.Logger, slots: make(chan struct{}, options.MaxPods), spawner: newSpawner(),
		secrets:  options.Secrets,
		removals: make(chan string, 1024), quit: make(chan struct{}),
		cancels: map[types.UID]context.CancelCauseFunc{},
	}
	k.removing.Go(k.removeLogs)
	return k
}

func (k *kubelet) removeLogs() {
	for {
		select {
		case <-k.quit: // the next start removes what is left
			return
		case uid := <-k.removals:
			if err := k.folders.removeLog(uid); err != nil {
				k.logger.Warn("kubernetes: cannot remove a pod's log", "uid", uid, "error", err)
			}
		}
	}
}

// published follows the store: a pod that is gone takes its files along.
func (k *kubelet) published(changes []change) {
	for _, c := range changes {
		if c.key.resource == podResource && c.event == watch.Deleted {
			select {
			case k.removals <- string(c.object.GetUID()):
			case <-k.quit:
			}
		}
	}
}

// run starts to look after a pod. It returns at once.
func (k *kubelet) run(pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped || k.cancels[pod.UID] != nil {
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	k.cancels[pod.UID] = cancel
	k.pods.Go(func() {
		defer k.forget(pod.UID)
		k.live(ctx, pod)
	})
}

func (k *kubelet) forget(uid types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cancels[uid](nil)
	delete(k.cancels, uid)
}

// stop ends a pod's process and lets the pod end. A pod that is not looked after has ended already.
func (k *kubelet) stop(uid types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if cancel := k.cancels[uid]; cancel != nil {
		cancel(errPodDeleted)
	}
}

// close ends all processes and waits for them. Their pods stay as they are written: the next start finds them lost.
func (k *kubelet) close() {
	k.mu.Lock()
	k.stopped = true
	for _, cancel := range k.cancels {
		cancel(errPlatformStopped)
	}
	k.mu.Unlock()
	k.pods.Wait()
	k.spawner.close()
	close(k.quit)
	k.removing.Wait()
}

// live takes a pod through its life.
func (k *kubelet) live(ctx context.Context, pod *corev1.Pod) {
	ctx, cancel := k.withDeadline(ctx, pod)
	defer cancel()
	announced := context.AfterFunc(ctx, func() {
		if !errors.Is(context.Cause(ctx), errDeadlineExceeded) {
			return
		}
		if err := k.store.update(func(t *transaction) error { return announceDeadline(t, pod) }); err != nil {
			k.logger.Error("kubernetes: cannot write that a Job is past its deadline", "pod", pod.Name, "error", err)
		}
	})
	defer announced()
	ended, err := k.execute(ctx, pod)
	if errors.Is(err, errPlatformStopped) {
		return
	}
	if err := k.store.update(func(t *transaction) error { return settle(t, pod, ended, err) }); err != nil {
		k.logger.Error("kubernetes: cannot write how a pod ended", "pod", pod.Name, "error", err)
	}
	k.clean(pod)
}

// withDeadline bounds a pod's life by its Job's activeDeadlineSeconds.
func (k *kubelet) withDeadline(ctx context.Context, pod *corev1.Pod) (context.Context, context.CancelFunc) {
	job := &batchv1.Job{}
	if owner, uid, owned := jobOf(pod); owned && k.store.get(owner, job) == nil && job.UID == uid {
		if deadline, limited := deadlineOf(job); limited {
			return context.WithDeadlineCause(ctx, deadline, errDeadlineExceeded)
		}
	}
	return context.WithCancel(ctx)
}

// execute runs the pod's process to its end. The error is nil or the reason for which it was ended, or never begun.
func (k *kubelet) execute(ctx context.Context, pod *corev1.Pod) (corev1.ContainerStateTerminated, error) {
	select {
	case k.slots <- struct{}{}:
		defer func() { <-k.slots }()
	case <-ctx.Done():
		return corev1.ContainerStateTerminated{}, context.Cause(ctx)
	}
	sources, err := k.awaitSources(ctx, pod)
	if err != nil {
		return corev1.ContainerStateTerminated{}, err
	}
	command, err := prepare(pod, sources, k.folders.of(pod), k.path)
	if err != nil {
		return startError(err), nil
	}
	if err := k.store.update(func(t *transaction) error { return started(t, pod) }); err != nil {
		return startError(err), nil
	}
	log := newLog(k.folders.log(string(pod.UID)), k.logBytes)
	command.output = log
	defer log.close()
	exit, err := k.spawner.run(ctx, command)
	if errors.Is(err, errNotStarted) {
		return startError(err), nil
	}
	return terminated(pod, exit, log.tail()), err
}

// started marks the pod as running, unless its deletion was asked for just now.
func started(t *transaction, pod *corev1.Pod) error {
	current := &corev1.Pod{}
	if err := t.get(keyOf(podResource, pod), current); err != nil {
		return err
	}
	if current.DeletionTimestamp != nil {
		return errPodDeleted
	}
	markRunning(current)
	return t.put(podResource, current)
}

// startError is the state that the kubelet gives a container whose program cannot be started.
func startError(err error) corev1.ContainerStateTerminated {
	return corev1.ContainerStateTerminated{
		ExitCode: 128, Reason: "StartError", Message: "failed to create containerd task: " + err.Error(),
	}
}

func terminated(pod *corev1.Pod, exit exitStatus, tail string) corev1.ContainerStateTerminated {
	if exit.code == 0 {
		return corev1.ContainerStateTerminated{Reason: "Completed"}
	}
	ended := corev1.ContainerStateTerminated{ExitCode: exit.code, Signal: exit.signal, Reason: "Error"}
	if pod.Spec.Containers[0].TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		ended.Message = tail
	}
	return ended
}

// clean removes what a pod's process had. The log stays as long as the pod.
func (k *kubelet) clean(pod *corev1.Pod) {
	if err := k.folders.of(pod).remove(); err != nil {
		k.logger.Warn("kubernetes: cannot remove a pod's files", "pod", pod.Name, "error", err)
	}
}
