package services

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// startChild starts cmd in a process group of its own, so that a terminal's
// Ctrl-C does not reach it before graf-local stops it in order, and has the
// kernel send it the signal if this process is killed.
func startChild(cmd *exec.Cmd, signal syscall.Signal) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = signal
	return cmd.Start()
}

// postgresUser is the account that the distribution's package makes.
const postgresUser = "postgres"

// unprivileged tells how to run a program that refuses root (Postgres) on a
// folder. Without root, and so without a choice, it is nil. Where the folder
// belongs to somebody else, as in a clone that its owner uses through sudo, it
// is that user. Otherwise the program stays root, and the owner of all its
// files, but sees itself as the postgres user, in a user namespace: the
// permissions of the folders above then do not matter. Where namespaces are
// refused, as in many containers, the folder is given to the postgres user.
func unprivileged(folder string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(folder, &stat); err != nil {
		return nil, fmt.Errorf("find the owner of %s: %w", folder, err)
	}
	if stat.Uid != 0 {
		return credential(int(stat.Uid), int(stat.Gid)), nil
	}
	uid, gid, err := lookUp(postgresUser)
	if err != nil {
		return nil, err
	}
	namespace := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: 0, Size: 1}},
	}
	if try(namespace, folder) == nil {
		return namespace, nil
	}
	if err := os.Chown(folder, uid, gid); err != nil {
		return nil, fmt.Errorf("give the folder to user %s: %w", postgresUser, err)
	}
	if err := try(credential(uid, gid), folder); err != nil {
		return nil, fmt.Errorf("user %s, who is to run Postgres for root, cannot work in %s; choose a data folder that it can reach (--data FOLDER, or make DATA=FOLDER): %w",
			postgresUser, folder, err)
	}
	return credential(uid, gid), nil
}

func credential(uid, gid int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}} //nolint:gosec // ids fit
}

// try runs a program that does nothing, in the folder.
func try(attributes *syscall.SysProcAttr, folder string) error {
	cmd := exec.Command("true") //nolint:noctx // it ends at once
	cmd.Dir, cmd.SysProcAttr = folder, attributes
	return cmd.Run()
}

func lookUp(name string) (uid, gid int, err error) {
	account, err := user.Lookup(name)
	if err != nil {
		return 0, 0, fmt.Errorf("find user %s to run Postgres, which refuses root: %w", name, err)
	}
	uid, uidErr := strconv.Atoi(account.Uid)
	gid, gidErr := strconv.Atoi(account.Gid)
	return uid, gid, errors.Join(uidErr, gidErr)
}
