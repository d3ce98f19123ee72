// Package image packs a program into a container image: the program, root
// certificates and an account that is not root, on nothing else. The same
// program always gives the same image, on any machine, so an image's digest
// says what is in it.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// User is the account that containers run as: distroless images' "nonroot".
const User = "65532:65532"

// Spec says what an image holds.
type Spec struct {
	// Program is a statically linked executable.
	Program []byte
	// Path is where it lies in the image and what a container runs.
	Path string
	// Architecture is the processor's, in Go's terms: amd64.
	Architecture string
	// Env is added to PATH and SSL_CERT_FILE, each NAME=value.
	Env []string
	// Files are further ones by their absolute paths, which everybody may run; Links are
	// symbolic links to other paths, by theirs.
	Files map[string][]byte
	Links map[string]string
	// Compress has the layers compressed, as registries expect. A cluster on
	// this machine takes them faster as they are.
	Compress bool
}

// Build makes the image.
func Build(spec Spec) (v1.Image, error) {
	for _, name := range slices.Concat([]string{spec.Path}, slices.Sorted(maps.Keys(spec.Files)), slices.Sorted(maps.Keys(spec.Links))) {
		if !path.IsAbs(name) || path.Clean(name) != name || name == "/" {
			return nil, fmt.Errorf("the path in the image is %q: give an absolute one such as /app", name)
		}
	}
	certificates, err := certificates()
	if err != nil {
		return nil, err
	}
	base, err := layer(spec.Compress, []file{
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n")},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: strings.TrimPrefix(certificatesFile, "/"), mode: 0o644, data: certificates},
		{name: "tmp/", mode: 0o1777},
	})
	if err != nil {
		return nil, err
	}
	program, err := layer(spec.Compress, programFiles(spec))
	if err != nil {
		return nil, err
	}
	layers := []v1.Layer{base, program}
	if len(spec.Files)+len(spec.Links) > 0 {
		more, err := layer(spec.Compress, furtherFiles(spec))
		if err != nil {
			return nil, err
		}
		layers = append(layers, more)
	}
	image, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, fmt.Errorf("put the layers together: %w", err)
	}
	return configure(image, spec)
}

func configure(image v1.Image, spec Spec) (v1.Image, error) {
	current, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the image's configuration: %w", err)
	}
	config := current.DeepCopy()
	config.OS, config.Architecture = "linux", spec.Architecture
	config.Config = v1.Config{
		Entrypoint: []string{spec.Path},
		User:       User,
		WorkingDir: "/",
		Env:        append([]string{"PATH=" + searched(spec), "SSL_CERT_FILE=" + certificatesFile}, spec.Env...),
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, fmt.Errorf("configure the image: %w", err)
	}
	return image, nil
}

// searched is the PATH of the image: the folders with programs.
func searched(spec Spec) string {
	folders := []string{path.Dir(spec.Path)}
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(spec.Files)), slices.Sorted(maps.Keys(spec.Links))) {
		if folder := path.Dir(name); !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	return strings.Join(folders, ":")
}

// programFiles are the program and the folders above it.
func programFiles(spec Spec) []file {
	return append(folders(spec.Path), file{name: strings.TrimPrefix(spec.Path, "/"), mode: 0o755, data: spec.Program})
}

// furtherFiles are the files and links besides the program, with their folders.
func furtherFiles(spec Spec) []file {
	var files []file
	for _, name := range slices.Sorted(maps.Keys(spec.Files)) {
		files = append(append(files, folders(name)...), file{name: strings.TrimPrefix(name, "/"), mode: 0o755, data: spec.Files[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Links)) {
		files = append(append(files, folders(name)...), file{name: strings.TrimPrefix(name, "/"), mode: 0o777, link: spec.Links[name]})
	}
	return files
}

// folders are those above a path.
func folders(name string) []file {
	name = strings.TrimPrefix(name, "/")
	var files []file
	for i, c := range name {
		if c == '/' {
			files = append(files, file{name: name[:i+1], mode: 0o755})
		}
	}
	return files
}

// file is an entry of a layer; a folder's name ends with a slash.
type file struct {
	name string
	mode int64
	data []byte
	link string
}

// layer packs files, all root's and of the same moment.
func layer(compress bool, files []file) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, f := range files {
		header := &tar.Header{
			Name: f.name, Mode: f.mode, Size: int64(len(f.data)),
			ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
		}
		switch {
		case strings.HasSuffix(f.name, "/"):
			header.Typeflag = tar.TypeDir
		case f.link != "":
			header.Typeflag, header.Linkname = tar.TypeSymlink, f.link
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack a layer: %w", err)
	}
	kind := compression.None
	if compress {
		kind = compression.GZip
	}
	made, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	}, tarball.WithCompression(kind))
	if err != nil {
		return nil, fmt.Errorf("make a layer: %w", err)
	}
	return made, nil
}
