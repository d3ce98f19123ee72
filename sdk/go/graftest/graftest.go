// Package graftest runs a package's tests beside a whole Graf on this machine:
// the local platform, built from the workspace that the package is in.
package graftest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// inside is set where the tests run beside the platform.
const inside = "GRAF_TEST_PLATFORM"

const module = "github.com/graf-run/graf/"

// programs are what the platform consists of, and the agent of examples.
var programs = []string{
	"local/cmd/graf-local", "local/cmd/graf-embeddings", "examples/cmd/manifest-agent", "functions/submit/cmd/submit",
	"functions/callback/cmd/callback", "functions/memory/cmd/memory", "functions/embed/cmd/embed",
	"functions/launch/cmd/launch", "functions/finalize/cmd/finalize", "runner/cmd/graf-runner",
}

// M is what testing.M has of it.
type M interface{ Run() int }

// Run runs the tests with GRAF_URL and GRAF_TOKEN of a platform that is started for
// them and leaves nothing behind. settings are the functions', NAME=value. Call it
// from TestMain, before anything else: this process becomes graf-local, which runs
// the test program again beside the platform.
func Run(m M, settings ...string) int {
	if os.Getenv(inside) != "" {
		return m.Run()
	}
	err := become(settings)
	fmt.Fprintln(os.Stderr, "start a platform for the tests:", err)
	return 1
}

// become replaces this process; it returns only on an error.
func become(settings []string) error {
	folder, err := build()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	local := filepath.Join(folder, "graf-local")
	arguments := append([]string{local, "run", "--ephemeral", "--", self}, os.Args[1:]...)
	environment := append(own(os.Environ()), settings...)
	//nolint:gosec // the program was built just now
	return syscall.Exec(local, arguments, append(environment, inside+"=1", "GRAF_TICK=500ms"))
}

// own is the environment without what would have the platform use a developer's
// servers, settings or embedding model.
func own(environ []string) []string {
	return slices.DeleteFunc(environ, func(variable string) bool {
		return strings.HasPrefix(variable, "GRAF_") || strings.HasPrefix(variable, "OPENAI_") ||
			strings.HasPrefix(variable, "AGENT_") || strings.HasPrefix(variable, "ANTHROPIC_") || strings.HasPrefix(variable, "GIT_")
	})
}

// build builds the programs into a folder that stays, one for each clone of the
// repository: go build does not link again what has not changed. Other packages'
// tests that build, too, are waited for.
func build() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	workspace, err := exec.CommandContext(ctx, "go", "env", "GOWORK").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOWORK: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "graf", "test-programs", fmt.Sprintf("%x", sha256.Sum256(workspace))[:12])
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }() // which gives the lock back; nothing was written
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("wait for other builds: %w", err)
	}
	arguments := []string{"build", "-buildvcs=false", "-o", folder + string(filepath.Separator)}
	for _, program := range programs {
		arguments = append(arguments, module+program)
	}
	if out, err := exec.CommandContext(ctx, "go", arguments...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return folder, nil
}
