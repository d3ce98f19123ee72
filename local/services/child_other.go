//go:build !linux

package services

import (
	"os/exec"
	"syscall"
)

// startChild starts cmd in a process group of its own. Only Linux can also
// have the kernel end it if this process is killed.
func startChild(cmd *exec.Cmd, _ syscall.Signal) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}

// unprivileged would tell how to run a program that refuses root; elsewhere
// than on Linux that takes another user than root to begin with.
func unprivileged(string) (*syscall.SysProcAttr, error) { return nil, nil }
