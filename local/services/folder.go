package services

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// makeFolder makes the folder at path and those above it that are missing.
// When root makes them, each belongs to the owner of the one it is in, so that
// a clone's owner who once used sudo can still use and remove the data.
// Others may pass through, for Postgres may have to run as another user, but
// see nothing.
func makeFolder(path string) error {
	const mode = 0o711
	err := os.Mkdir(path, mode)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if errors.Is(err, os.ErrNotExist) {
		if err := makeFolder(filepath.Dir(path)); err != nil {
			return err
		}
		err = os.Mkdir(path, mode)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the folder: %w", err)
	}
	return inheritOwner(path)
}

// inheritOwner gives what is at path to the owner of the folder it is in.
func inheritOwner(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(filepath.Dir(path), &stat); err != nil {
		return fmt.Errorf("find the owner of %s: %w", filepath.Dir(path), err)
	}
	if err := os.Lchown(path, int(stat.Uid), int(stat.Gid)); err != nil {
		return fmt.Errorf("set the owner of %s: %w", path, err)
	}
	return nil
}
