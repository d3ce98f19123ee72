package runner

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A session's file that is a pipe does not keep the runner waiting for a writer.
func TestSessionFileIsRegular(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	pipe, file := filepath.Join(folder, "pipe"), filepath.Join(folder, "file")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, opens := range map[string]bool{pipe: false, folder: false, filepath.Join(folder, "none"): false, file: true} {
		opened := (&follower{find: func() string { return name }}).open()
		if (opened != nil) != opens {
			t.Errorf("%s: opened %t, want %t", filepath.Base(name), opened != nil, opens)
		}
		_ = opened.Close() // nil is none
	}
}
