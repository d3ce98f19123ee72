package image_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/graf-run/graf/deploy/image"
)

func TestReadProgram(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	source := filepath.Join(folder, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(folder, "program")
	cmd := exec.Command("go", "build", "-o", program, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	data, architecture, err := image.ReadProgram(program)
	if err != nil || len(data) == 0 || architecture != runtime.GOARCH {
		t.Errorf("%d bytes for %s, %v", len(data), architecture, err)
	}
	if _, _, err := image.ReadProgram(source); err == nil || !strings.Contains(err.Error(), "is no Linux program") {
		t.Errorf("a text: %v", err)
	}
	if _, _, err := image.ReadProgram("/bin/sh"); !errors.Is(err, image.ErrNotStatic) {
		t.Errorf("a program with libraries: %v", err)
	}
}
