package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A command beside the platform finds it, and its status is graf-local's. The
// platform's programs are beside graf-local, so it is built for this.
func TestRunBesideCommand(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", folder+string(filepath.Separator),
		"github.com/graf-run/graf/local/cmd/graf-local", "github.com/graf-run/graf/local/cmd/graf-embeddings",
		"github.com/graf-run/graf/functions/submit/cmd/submit", "github.com/graf-run/graf/functions/callback/cmd/callback",
		"github.com/graf-run/graf/functions/memory/cmd/memory", "github.com/graf-run/graf/functions/embed/cmd/embed",
		"github.com/graf-run/graf/functions/launch/cmd/launch", "github.com/graf-run/graf/functions/finalize/cmd/finalize")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	temporary := t.TempDir()
	if err := os.Chmod(filepath.Dir(temporary), 0o711); err != nil { //nolint:gosec // Postgres passes it
		t.Fatal(err)
	}
	ask := `curl -fsS -H "Authorization: Bearer $GRAF_TOKEN" "$GRAF_URL/v1/codex/tasks" > "$0" && exit 7`
	answer := filepath.Join(folder, "answer")
	command := exec.CommandContext(context.Background(), filepath.Join(folder, "graf-local"), "run", "--ephemeral", "--",
		"sh", "-c", ask, answer)
	command.Env = append(os.Environ(), "TMPDIR="+temporary)
	out, _ := command.CombinedOutput()
	if status := command.ProcessState.ExitCode(); status != 7 {
		t.Fatalf("exit status %d, want the command's, 7\n%s", status, out)
	}
	if got, err := os.ReadFile(answer); err != nil || string(got) != `{"tasks":[]}`+"\n" {
		t.Errorf("the command was answered %q, %v", got, err)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
