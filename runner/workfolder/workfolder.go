// Package workfolder reads the Kubernetes resources that are files of an agent's
// working folder, before and after the agent, and tells what has become of them.
package workfolder

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graf-run/graf/shared/manifest"
)

// Bounds of what is looked at.
const (
	maxEntries = 10_000
	maxFile    = 1 << 20
	maxBytes   = 2 << 20 // of all manifests
)

// ErrTooMuch says that a folder has more than is looked at.
var ErrTooMuch = errors.New("the working folder has too much in it to look for manifests")

// extensions are of files that may have manifests in them.
var extensions = []string{".yaml", ".yml", ".json"}

// passedOver are folders whose manifests are others'. So are hidden ones: the working folder may be the agent's home, with
// the caches of its tools.
var passedOver = []string{"node_modules", "vendor", "proc", "sys"}

// moduleCache is the end of the folder that Go keeps modules in, of a home.
const moduleCache = "/go/pkg"

func isPassedOver(folder string) bool {
	name := filepath.Base(folder)
	return strings.HasPrefix(name, ".") || slices.Contains(passedOver, name) || strings.HasSuffix(folder, moduleCache)
}

// Read reads the resources in a folder and those below it, but not those in except,
// which may be "". Files that are no manifests, as templates are none, are passed
// over, and so are links. The values of Secrets are digests with the salt from here
// on. It fails with ErrTooMuch, or if the folder cannot be read.
func Read(folder, except string, salt []byte) ([]manifest.Object, error) {
	r := reader{except: absolute(except), salt: salt}
	if err := filepath.WalkDir(absolute(folder), r.visit); err != nil {
		return nil, fmt.Errorf("look for manifests: %w", err)
	}
	return r.objects, nil
}

func absolute(folder string) string {
	if folder == "" {
		return ""
	}
	if absolute, err := filepath.Abs(folder); err == nil {
		return absolute
	}
	return folder
}

type reader struct {
	except         string
	salt           []byte
	entries, bytes int
	objects        []manifest.Object
}

func (r *reader) visit(name string, entry fs.DirEntry, err error) error {
	if r.entries++; r.entries > maxEntries {
		return fmt.Errorf("%w: more than %d files", ErrTooMuch, maxEntries)
	}
	switch {
	case err != nil && r.entries == 1:
		return err
	case err != nil:
		return nil //nolint:nilerr // a folder that the runner may not read, or that is gone
	case entry.IsDir() && (name == r.except || r.entries > 1 && isPassedOver(name)):
		return fs.SkipDir
	case !entry.Type().IsRegular() || !slices.Contains(extensions, strings.ToLower(filepath.Ext(name))):
		return nil
	}
	return r.read(name)
}

func (r *reader) read(name string) error {
	info, err := os.Lstat(name)
	if err != nil || info.Size() > maxFile {
		return nil //nolint:nilerr // it is gone meanwhile, or no manifest that Graf would take
	}
	text, err := os.ReadFile(name)
	if err != nil || !bytes.Contains(text, []byte("apiVersion")) || !bytes.Contains(text, []byte("kind")) {
		return nil //nolint:nilerr // not the runner's to read
	}
	if r.bytes += len(text); r.bytes > maxBytes {
		return fmt.Errorf("%w: more than %d bytes of manifests", ErrTooMuch, maxBytes)
	}
	if objects, err := manifest.Parse(text, r.salt); err == nil {
		r.objects = append(r.objects, objects...)
	}
	return nil
}

// Seed copies the files of a folder into one of another's, to, which it makes. What is
// there already stays: it may be the work of an earlier try. No link, which a
// repository may have, leads out of the other folder: it fails then.
func Seed(from, folder, to string) (err error) {
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("read the submitted manifests: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy the submitted manifests: %w", err)
		}
	}()
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // the agent's, which may be another user
		return err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := root.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, entry := range entries {
		name := filepath.Join(from, entry.Name())
		// Kubernetes makes links of a ConfigMap's files, to a folder ..data.
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := seed(root, name, filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func seed(root *os.Root, from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	file, err := root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}
