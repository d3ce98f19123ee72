package kubernetes

import (
	"errors"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// errPodLost is the cause of a pod whose process the platform did not outlive.
var errPodLost = errors.New("pod lost: the platform restarted while it ran")

// recover goes on after a restart: pods that ran are lost, with whatever they left running; pods that had not started
// yet are started. memory is where the platform before had its files in memory.
func (k *kubelet) recover(memory string) error {
	marks := []string{k.folders.disk + "/"}
	if memory != "" {
		marks = append(marks, memory+"/")
	}
	killStrays(marks...)
	if err := os.RemoveAll(memory); err != nil {
		return err
	}
	var pending, lost []*corev1.Pod
	err := k.store.read(func(t *transaction) error {
		return t.each(podResource, "", func(raw []byte) error {
			pod := &corev1.Pod{}
			if err := decode(raw, pod); err != nil {
				return err
			}
			switch {
			case podFinished(pod):
			case pod.Status.Phase == corev1.PodRunning || pod.DeletionTimestamp != nil:
				lost = append(lost, pod)
			default:
				pending = append(pending, pod)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	if err := k.removeOrphans(); err != nil {
		return err
	}
	for _, pod := range lost {
		if err := k.lose(pod); err != nil {
			return err
		}
	}
	for _, pod := range pending {
		k.run(pod)
	}
	return nil
}

func (k *kubelet) lose(pod *corev1.Pod) error {
	ended := corev1.ContainerStateTerminated{
		ExitCode: 137, Reason: "ContainerStatusUnknown",
		Message: "The container could not be located when the pod was terminated",
	}
	err := k.store.update(func(t *transaction) error { return settle(t, pod, ended, errPodLost) })
	k.clean(pod)
	return err
}

// removeOrphans removes the files of pods that are gone, which a crash may have left.
func (k *kubelet) removeOrphans() error {
	entries, err := os.ReadDir(k.folders.disk)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	err = k.store.read(func(t *transaction) error {
		return t.each(podResource, "", func(raw []byte) error {
			pod := &corev1.Pod{}
			err := decode(raw, pod)
			known[string(pod.UID)] = true
			return err
		})
	})
	for _, entry := range entries {
		if uid := entry.Name(); len(uid) < uidLength || !known[uid[:uidLength]] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(k.folders.disk, entry.Name())))
		}
	}
	return err
}
