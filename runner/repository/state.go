package repository

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The runner's own folder, its GIT_DIR and git's HOME, is where the agent could write,
// who is the same user in a container. So it is not there while the agent works: leave
// keeps what is worth keeping where the agent cannot get at it, and renew makes another
// folder of that. Of a repository that was there, objects alone stay, which are data.

// newFolder makes the runner's own folder.
func (r *Repository) newFolder() (err error) {
	if r.state, err = os.MkdirTemp(r.options.Temporary, "graf-git-*"); err != nil {
		return fmt.Errorf("make a folder for git: %w", err)
	}
	r.git.home = r.state
	return nil
}

// leave takes away what the agent could write to, before it starts.
func (r *Repository) leave() (err error) {
	name := filepath.Join(r.own(), "index")
	// A file without a name: this process' descriptors are its own where it has credentials.
	if r.index, err = os.Open(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("keep the index: %w", err)
	}
	if r.shared {
		return r.remove()
	}
	r.files[alternates] += filepath.Join(r.own(), "objects") + "\n" // the start's
	r.first = r.state
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("keep the index: %w", err)
	}
	return nil
}

// renew makes the folder anew, as it was left.
func (r *Repository) renew() error {
	if r.state != r.first {
		if err := r.remove(); err != nil {
			return err
		}
	}
	if err := r.newFolder(); err != nil {
		return err
	}
	if err := r.write(); err != nil {
		return err
	}
	if r.index == nil {
		return nil
	}
	if err := r.copyIndex(); err != nil {
		return fmt.Errorf("restore the index: %w", err)
	}
	return nil
}

// copyIndex has the index be as old as it was: git looks again at files that are not
// older, which may have changed since.
func (r *Repository) copyIndex() error {
	if _, err := r.index.Seek(0, io.SeekStart); err != nil {
		return err
	}
	info, err := r.index.Stat()
	if err != nil {
		return err
	}
	name := filepath.Join(r.own(), "index")
	to, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, r.index); err != nil {
		return errors.Join(err, to.Close())
	}
	return errors.Join(to.Close(), os.Chtimes(name, info.ModTime(), info.ModTime()))
}

// remove removes the folder in use.
func (r *Repository) remove() error {
	if r.state == "" { // not the present one
		return nil
	}
	if err := os.RemoveAll(r.state); err != nil {
		return fmt.Errorf("remove git's folder: %w", err)
	}
	r.state = ""
	return nil
}

// Close removes what the runner has of its own.
func (r *Repository) Close() error {
	err := r.remove()
	if r.first != "" {
		err = errors.Join(err, os.RemoveAll(r.first))
	}
	if r.index != nil {
		_ = r.index.Close() // it was only read
		r.index = nil
	}
	return err
}
