package kubernetes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// sharedMemory is a memory file system on every Linux.
const sharedMemory = "/dev/shm"

// uidLength is the length of a pod's UID, with which the name of everything of the pod's begins.
const uidLength = 36

// folders are where the files of pods are. What pods only read is in memory, as a kubelet keeps Secrets: the prompt then
// never reaches the disk, and a short Job is spared most of the files that the disk's file system would have to make.
type folders struct{ disk, memory string }

// openFolders makes both and returns, besides, where an earlier platform that was killed had its own in memory.
func openFolders(data, parent string) (f folders, before string, err error) {
	f.disk = filepath.Join(data, "pods")
	if err := os.MkdirAll(f.disk, 0o700); err != nil {
		return f, "", err
	}
	record := filepath.Join(data, "memory")
	if text, err := os.ReadFile(record); err == nil {
		before = string(text)
	}
	if f.memory, err = os.MkdirTemp(parent, "graf-kubernetes-"); err != nil {
		// Not every machine has a memory file system that all may write to.
		if f.memory, err = os.MkdirTemp(data, "graf-kubernetes-"); err != nil {
			return f, "", err
		}
	}
	return f, before, os.WriteFile(record, []byte(f.memory), 0o600)
}

// close removes what is in memory.
func (f folders) close() error { return os.RemoveAll(f.memory) }

func (f folders) log(uid string) string { return filepath.Join(f.disk, uid+".log") }

// removeLog removes what is left of a pod that is gone.
func (f folders) removeLog(uid string) error {
	for _, path := range []string{f.log(uid), f.log(uid) + rotated} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// podFolders are one pod's: volumes by name, and a working directory for a container that has none in a volume.
type podFolders struct {
	memory, work string
	volumes      map[string]string
	marks        []string // begin every path of the pod's, and of no other's
}

func (f folders) of(pod *corev1.Pod) podFolders {
	uid := string(pod.UID)
	own := podFolders{
		memory: filepath.Join(f.memory, uid), work: filepath.Join(f.disk, uid+".work"), volumes: map[string]string{},
		marks: []string{filepath.Join(f.memory, uid), filepath.Join(f.disk, uid)},
	}
	written := map[string]bool{}
	for _, mount := range pod.Spec.Containers[0].VolumeMounts {
		written[mount.Name] = written[mount.Name] || !mount.ReadOnly
	}
	for _, volume := range pod.Spec.Volumes {
		own.volumes[volume.Name] = filepath.Join(own.memory, volume.Name)
		if volume.EmptyDir != nil && written[volume.Name] {
			own.volumes[volume.Name] = filepath.Join(f.disk, uid+"_"+volume.Name)
		}
	}
	return own
}

// remove removes all but the log.
func (p podFolders) remove() error {
	err := errors.Join(os.RemoveAll(p.memory), os.RemoveAll(p.work))
	for _, path := range p.volumes {
		if !strings.HasPrefix(path, p.memory) {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}

// makeFolder makes one folder; one that a stopped platform left is as good.
func makeFolder(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}
