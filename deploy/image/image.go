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
	"path"
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
	// Compress has the layers compressed, as registries expect. A cluster on
	// this machine takes them faster as they are.
	Compress bool
}

// Build makes the image.
func Build(spec Spec) (v1.Image, error) {
	if !path.IsAbs(spec.Path) || path.Clean(spec.Path) != spec.Path || spec.Path == "/" {
		return nil, fmt.Errorf("the program's path in the image is %q: give an absolute one such as /app", spec.Path)
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
	image, err := mutate.AppendLayers(empty.Image, base, program)
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
		Env:        append([]string{"PATH=" + path.Dir(spec.Path), "SSL_CERT_FILE=" + certificatesFile}, spec.Env...),
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, fmt.Errorf("configure the image: %w", err)
	}
	return image, nil
}

// programFiles are the program and the folders above it.
func programFiles(spec Spec) []file {
	name := strings.TrimPrefix(spec.Path, "/")
	var files []file
	for i, c := range name {
		if c == '/' {
			files = append(files, file{name: name[:i+1], mode: 0o755})
		}
	}
	return append(files, file{name: name, mode: 0o755, data: spec.Program})
}

// file is an entry of a layer; a folder's name ends with a slash.
type file struct {
	name string
	mode int64
	data []byte
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
		if strings.HasSuffix(f.name, "/") {
			header.Typeflag = tar.TypeDir
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
