package kubernetes

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// killPasses bounds how often the process table is read again because a stray was found: one that forks while it is
// being killed is found in the next pass.
const killPasses = 10

// killStrays kills every process whose environment names a path below folder: what a pod started and what left its
// process group, or outlived the platform. The environment tells them for sure, where a process number might have been
// given to another process since.
func killStrays(folder string) {
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return
	}
	for range killPasses {
		if killed := killMarked([]byte("=" + absolute + "/")); killed == 0 {
			return
		}
	}
}

func killMarked(mark []byte) (killed int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environment, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err == nil && bytes.Contains(environment, mark) && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}
