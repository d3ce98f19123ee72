package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestServices(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	output := filepath.Join(folder, "output")
	// Of the kubeconfig, the environment tells whether make test set it.
	script := `env | grep '^GRAF_TEST_' | grep -v KUBECONFIG | sort | cut -d = -f 1 > "$0"; exit 7`
	status := execute(context.Background(), []string{"services", "--ephemeral", "--data", folder, "--", "sh", "-c", script, output})
	if status != 7 {
		t.Errorf("exit status %d, want the command's, 7", status)
	}
	names, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	want := "GRAF_TEST_DATABASE_URL GRAF_TEST_REDIS_URL GRAF_TEST_S3_ACCESS_KEY_ID GRAF_TEST_S3_ENDPOINT GRAF_TEST_S3_REGION GRAF_TEST_S3_SECRET_ACCESS_KEY"
	if got := strings.Join(strings.Fields(string(names)), " "); got != want {
		t.Errorf("the command saw %s, want %s", got, want)
	}
	if left, err := os.ReadDir(filepath.Join(folder, "ephemeral")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestServicesRefuses(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string][]string{
		"no command":      {"services", "--ephemeral", "--data", t.TempDir(), "--listen", "nowhere"},
		"env file":        {"services", "--env-file", "env", "--data", t.TempDir(), "--", "true"},
		"unknown command": {"services", "--ephemeral", "--data", t.TempDir(), "--", "no-such-program"},
		"unknown flag":    {"services", "--forever", "--", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status := execute(context.Background(), arguments); status != 1 {
				t.Errorf("exit status %d, want 1", status)
			}
		})
	}
}

// Without a command they run until the end of the context, and the file is there
// just as long.
func TestServicesWithoutCommand(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "env")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	status := make(chan int, 1)
	go func() {
		status <- execute(ctx, []string{"services", "--ephemeral", "--data", folder, "--env-file", file})
	}()
	var text []byte
	for tick := time.NewTicker(20 * time.Millisecond); len(text) == 0; <-tick.C {
		text, _ = os.ReadFile(file)
		if len(status) > 0 {
			t.Fatal("the servers ended before the file was written")
		}
	}
	for _, name := range []string{"GRAF_DATABASE_URL", "GRAF_REDIS_URL", "GRAF_S3_ENDPOINT", "GRAF_S3_SECRET_ACCESS_KEY", "GRAF_S3_BUCKET"} {
		if !strings.Contains("\n"+string(text), "\n"+name+"=") {
			t.Errorf("the file has no %s", name)
		}
	}
	cancel()
	if got := <-status; got != 0 {
		t.Errorf("exit status %d, want 0", got)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestRunForwarding(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", "trap 'exit 5' TERM; read unused")
	input, err := cmd.StdinPipe() // kept open, so that only the signal ends it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = input.Close() }()
	failed := make(chan error, 1)
	failed <- os.ErrClosed
	err = runForwarding(cmd, failed)
	if err == nil || !strings.Contains(err.Error(), os.ErrClosed.Error()) {
		t.Errorf("got %v, want the server's failure", err)
	}
}
