// Package artifact finds the files that an agent leaves behind, by patterns, and
// uploads them. Nothing outside the agent's folder is read, wherever links lead.
package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// maxFiles bounds what patterns may match: as many artifacts as Graf shows of a task.
const maxFiles = 200

// ErrPattern says that a pattern is none.
var ErrPattern = errors.New("not a pattern of files in the agent's folder")

// CheckPattern tells what is wrong with a pattern, or nil. A pattern is as the shell's,
// with ** for any number of folders and {a,b} for either, and is relative to the
// agent's folder. Files and folders whose names begin with a dot are matched only
// where the pattern has the dot.
func CheckPattern(pattern string) error {
	segments := strings.FieldsFunc(pattern, func(r rune) bool { return strings.ContainsRune("/{},", r) })
	if len(segments) == 0 || path.IsAbs(pattern) || slices.Contains(segments, "..") || !doublestar.ValidatePattern(pattern) {
		return fmt.Errorf("%w: %q", ErrPattern, pattern)
	}
	return nil
}

// find lists the paths that match, each once, in the order of the patterns. warn hears
// of what cannot be looked at, and of too many.
func find(ctx context.Context, root *os.Root, patterns []string, warn func(string)) []string {
	var found []string
	seen := map[string]bool{}
	folder := &watched{FS: root.FS(), ctx: ctx, warn: warn, told: map[string]bool{}}
	for _, pattern := range patterns {
		err := doublestar.GlobWalk(folder, path.Clean(pattern), func(name string, entry fs.DirEntry) error {
			switch {
			case entry.IsDir() || seen[name]:
				return nil
			case len(found) == maxFiles:
				return errTooMany
			}
			seen[name] = true
			found = append(found, name)
			return nil
		}, doublestar.WithNoFollow(), doublestar.WithNoHidden())
		switch {
		case errors.Is(err, errTooMany):
			warn(fmt.Sprintf("more than %d files match; the others are left out", maxFiles))
			return found
		case ctx.Err() != nil:
			warn(fmt.Sprintf("not all files were looked for: %v", context.Cause(ctx)))
			return found
		case err != nil:
			warn(fmt.Sprintf("files of %q are left out: %v", pattern, err))
		}
	}
	return found
}

var errTooMany = errors.New("too many files match")

// watched is a folder that tells of what cannot be looked at, which doublestar passes
// over, and that ends with a context.
type watched struct {
	fs.FS
	ctx  context.Context //nolint:containedctx // fs.FS has no other place for it
	warn func(string)
	told map[string]bool
}

// ReadDir implements fs.ReadDirFS.
func (w *watched) ReadDir(name string) ([]fs.DirEntry, error) {
	if w.ctx.Err() != nil {
		return nil, context.Cause(w.ctx)
	}
	entries, err := fs.ReadDir(w.FS, name)
	return entries, w.tell(name, err)
}

// Stat implements fs.StatFS.
func (w *watched) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(w.FS, name)
	return info, w.tell(name, err)
}

func (w *watched) tell(name string, err error) error {
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !w.told[name] {
		w.told[name] = true
		w.warn(fmt.Sprintf("%q is left out: %v", name, err))
	}
	return err
}
