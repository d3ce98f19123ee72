package image_test

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"iter"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/graf-run/graf/deploy/image"
)

func build(t *testing.T, spec image.Spec) v1.Image {
	t.Helper()
	made, err := image.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func spec() image.Spec {
	return image.Spec{Program: []byte("a program"), Path: "/bin/app", Architecture: "amd64", Env: []string{"A=b"}}
}

// digest is that of spec's image. It changes only with what is in the image: with
// the root certificates' version in go.mod, or with this package.
const digest = "9835358cfb96"

func TestImageIsReproducible(t *testing.T) {
	t.Parallel()
	const want = "dev.local/graf-test:" + digest
	for name, compress := range map[string]bool{"plain": false, "compressed": true} {
		s := spec()
		s.Compress = compress
		got, err := image.Reference(build(t, s), image.LocalRegistry, "graf-test")
		if err != nil || got.String() != want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, want)
		}
	}
	other := spec()
	other.Program = []byte("another program")
	if got, err := image.Reference(build(t, other), image.LocalRegistry, "graf-test"); err != nil || got.String() == want {
		t.Errorf("another program: %s, %v", got, err)
	}
}

func TestReference(t *testing.T) {
	t.Parallel()
	made := build(t, spec())
	for repository, want := range map[string]string{
		"graf-a":                 "registry.example:5000/team/graf-a:" + digest,
		"other.example/graf-b":   "other.example/graf-b:" + digest,
		"other.example/graf-b:1": "other.example/graf-b:1",
		"graf-c:1":               "registry.example:5000/team/graf-c:1",
	} {
		got, err := image.Reference(made, "registry.example:5000/team", repository)
		if err != nil || got.String() != want {
			t.Errorf("%s: %s, %v; want %s", repository, got, err, want)
		}
	}
	if got, err := image.Reference(made, "dev.local", "No Name"); err == nil {
		t.Errorf("a name with a space became %s", got)
	}
}

// entries are what is in an image, with the content of each.
func entries(t *testing.T, made v1.Image) iter.Seq2[*tar.Header, string] {
	t.Helper()
	return func(yield func(*tar.Header, string) bool) {
		reader := tar.NewReader(mutate.Extract(made))
		for {
			header, err := reader.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			if !yield(header, string(data)) {
				return
			}
		}
	}
}

func TestContent(t *testing.T) {
	t.Parallel()
	made := build(t, spec())
	config, err := made.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || !slices.Equal(config.Config.Entrypoint, []string{"/bin/app"}) || config.Architecture != "amd64" ||
		!slices.Contains(config.Config.Env, "A=b") || !slices.Contains(config.Config.Env, "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt") {
		t.Errorf("configuration: %+v", config)
	}
	found := map[string]string{}
	for header, data := range entries(t, made) {
		if header.Uid != 0 || header.Gid != 0 || header.Mode&0o022 != 0 && header.Name != "tmp/" && header.Name != "tmp" {
			t.Errorf("%s may be changed by the program: %+v", header.Name, header)
		}
		found[strings.TrimSuffix(header.Name, "/")] = data
	}
	if found["bin/app"] != "a program" {
		t.Errorf("the program is %q", found["bin/app"])
	}
	if n := strings.Count(found["etc/ssl/certs/ca-certificates.crt"], "BEGIN CERTIFICATE"); n < 100 {
		t.Errorf("%d root certificates, want those of Mozilla", n)
	}
}

func TestFurtherFiles(t *testing.T) {
	t.Parallel()
	s := spec()
	s.Files, s.Links = map[string][]byte{"/usr/bin/tool": []byte("a tool")}, map[string]string{"/usr/bin/same": "tool"}
	made := build(t, s)
	config, err := made.ConfigFile()
	if err != nil || !slices.Contains(config.Config.Env, "PATH=/bin:/usr/bin") {
		t.Errorf("%v, %v", config.Config.Env, err)
	}
	found := 0
	for header, data := range entries(t, made) {
		switch header.Name {
		case "usr/bin/tool":
			if data != "a tool" || header.Mode != 0o755 {
				t.Errorf("%+v %q", header, data)
			}
			found++
		case "usr/bin/same":
			if header.Typeflag != tar.TypeSymlink || header.Linkname != "tool" {
				t.Errorf("%+v", header)
			}
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 files", found)
	}
}

func TestBuildRefusesPaths(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "app", "/", "/a/../b", "/a/"} {
		s := spec()
		s.Path = path
		further := spec()
		further.Files = map[string][]byte{path: nil}
		for _, s := range []image.Spec{s, further} {
			if _, err := image.Build(s); err == nil || !strings.Contains(err.Error(), "/app") {
				t.Errorf("%q: %v", path, err)
			}
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	made := build(t, spec())
	reference, err := image.Reference(made, image.LocalRegistry, "graf-test")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "image.tar")
	if err := image.Write(made, reference, file); err != nil {
		t.Fatal(err)
	}
	read, err := tarball.ImageFromPath(file, &reference)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := made.ConfigName()
	if got, err := read.ConfigName(); err != nil || got != want {
		t.Errorf("read back %s, %v; want %s", got, err, want)
	}
	if err := image.Write(made, reference, filepath.Join(folder, "absent", "image.tar")); err == nil {
		t.Error("wrote to a folder that is not there")
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestPush(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	s := spec()
	s.Compress = true
	made := build(t, s)
	reference, err := image.Reference(made, strings.TrimPrefix(server.URL, "http://")+"/team", "graf-test")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is there already
		pushed, err := image.Push(context.Background(), made, reference)
		if err != nil {
			t.Fatal(err)
		}
		found, err := remote.Head(pushed)
		if want, _ := made.Digest(); err != nil || found.Digest != want {
			t.Errorf("the registry has %+v, %v; want %s", found, err, want)
		}
	}
	server.Close()
	if _, err := image.Push(context.Background(), made, reference); err == nil || !strings.Contains(err.Error(), "is the registry reachable") {
		t.Errorf("without a registry: %v", err)
	}
}
