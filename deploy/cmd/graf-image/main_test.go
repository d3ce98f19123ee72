package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program builds a small static program.
func program(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	source, built := filepath.Join(folder, "main.go"), filepath.Join(folder, "program")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", built, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return built
}

func TestRun(t *testing.T) {
	t.Parallel()
	built := program(t)
	archive := filepath.Join(t.TempDir(), "image.tar")
	var printed [2]bytes.Buffer
	for i, more := range [][]string{nil, {"--output", archive}} {
		arguments := append([]string{"--name", "graf-test", "--binary", built}, more...)
		if err := run(context.Background(), arguments, &printed[i]); err != nil {
			t.Fatal(err)
		}
	}
	if name := printed[0].String(); !strings.HasPrefix(name, "dev.local/graf-test:") || name != printed[1].String() {
		t.Errorf("printed %q and %q", name, printed[1].String())
	}
	if _, err := os.Stat(archive); err != nil {
		t.Error(err)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Setenv(registryVariable, "")
	built := program(t)
	for message, arguments := range map[string][]string{
		"give --name and --binary":       {"--name", "a"},
		"one argument too many":          {"--name", "a", "--binary", built, "b"},
		"not both":                       {"--name", "a", "--binary", built, "--push", "--output", "b"},
		"GRAF_IMAGE_REGISTRY is not set": {"--name", "a", "--binary", built, "--push"},
		"is no Linux program":            {"--name", "a", "--binary", "main.go"},
		"give an absolute one":           {"--name", "a", "--binary", built, "--entrypoint", "app"},
		"flag provided but not defined":  {"--tag", "a"},
	} {
		if err := run(context.Background(), arguments, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%q: got %v, want %q", arguments, err, message)
		}
	}
}
