package platform

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// programs is the folder of Graf's programs, which the tests run as processes.
var programs string

// TestMain builds the programs. GOFLAGS=-race builds them with the race
// detector, too: the tests then also find races in the functions.
func TestMain(m *testing.M) {
	var err error
	if programs, err = buildPrograms(); err != nil {
		fmt.Fprintln(os.Stderr, "build the programs that the tests run:", err)
		os.Exit(1)
	}
	// Tests that wait for their turn to have a platform count as running. They must
	// leave room for the subtests of those that have one, whatever the machine.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err) // there is no such flag any more
	}
	os.Exit(m.Run())
}

// buildPrograms builds into a folder that stays, one for each clone of the
// repository: go build does not link again what has not changed.
func buildPrograms() (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "graf", "test-programs", fmt.Sprintf("%x", sha256.Sum256([]byte(here)))[:12])
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	const module = "github.com/graf-run/graf/"
	arguments := []string{
		"build", "-buildvcs=false", "-o", folder + string(filepath.Separator),
		module + "examples/cmd/manifest-agent", module + "e2e/cmd/e2e-agent", module + "local/cmd/graf-embeddings",
		module + "runner/cmd/graf-runner", module + "cli/cmd/graf",
	}
	for _, name := range functionNames {
		arguments = append(arguments, module+"functions/"+name+"/cmd/"+name)
	}
	arguments = append(arguments, module+"worker/cmd/worker")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "go", arguments...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return folder, nil
}
