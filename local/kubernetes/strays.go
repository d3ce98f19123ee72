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

// killStrays kills every process whose environment names a path that begins with one of marks: what a pod started and
// what left its process group, or outlived the platform. The environment tells them for sure, where a process number
// might have been given to another process since.
func killStrays(marks ...string) {
	for range killPasses {
		if killed := killMarked(marks); killed == 0 {
			return
		}
	}
}

func killMarked(marks []string) (killed int) {
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
		if err == nil && isMarked(environment, marks) && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

func isMarked(environment []byte, marks []string) bool {
	for _, mark := range marks {
		if bytes.Contains(environment, []byte("="+mark)) {
			return true
		}
	}
	return false
}
