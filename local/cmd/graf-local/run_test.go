package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// An ephemeral platform that cannot start (its programs are not beside this one)
// leaves nothing behind and does not run the command. That it runs one, and exits
// with its status, is what the tests of sdk/go and cli stand on.
func TestRunEphemeralCleansUp(t *testing.T) {
	temporary := t.TempDir()
	if err := os.Chmod(filepath.Dir(temporary), 0o711); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temporary)
	mark := filepath.Join(t.TempDir(), "mark")
	if status := execute(context.Background(), []string{"run", "--ephemeral", "--", "touch", mark}); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the command was run")
	}
	left, err := os.ReadDir(temporary)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
