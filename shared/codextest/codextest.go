// Package codextest runs the real Codex CLI in tests, against a scripted model
// (package responsestest). Only tests import it.
package codextest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// version is that of local/install-codex.sh.
const version = "0.169.0"

// patience bounds a run.
const patience = 2 * time.Minute

// Program is the path of the CLI, which make setup-test installs.
func Program(t testing.TB) string {
	t.Helper()
	program, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// Find is Program before there is a test, as TestMain needs it.
func Find() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("codextest: %w", err)
	}
	program := filepath.Join(cache, "graf", "bin", "codex-"+version, "bin", "codex")
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("codextest: %w; run: local/install-codex.sh", err)
	}
	return program, nil
}

// Home makes a CODEX_HOME whose model is served at responsesURL, with the API key
// of OPENAI_API_KEY. more is TOML that comes after, such as [mcp_servers.graf].
func Home(t testing.TB, responsesURL, more string) string {
	t.Helper()
	home := t.TempDir()
	config := fmt.Sprintf(`model = "scripted"
model_provider = "scripted"
check_for_update_on_startup = false

[model_providers.scripted]
name = "scripted"
base_url = %q
env_key = "OPENAI_API_KEY"
wire_api = "responses"
request_max_retries = 2
stream_max_retries = 1

[analytics]
enabled = false

%s
`, responsesURL, more)
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return home
}

// Event is a line of the JSON that the CLI prints.
type Event struct {
	Type string          `json:"type"`
	Item json.RawMessage `json:"item"`
	Line string          `json:"-"`
}

// Run is what a run of the CLI came to.
type Run struct {
	Events   []Event
	ExitCode int
	// Log is what it wrote to standard error.
	Log string
}

// Exec runs codex exec with a prompt in an empty folder and waits for its end.
// environment, as name=value, comes on top of PATH, HOME and CODEX_HOME.
func Exec(t testing.TB, home, prompt string, environment ...string) Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, Program(t), "exec", "--json", "--skip-git-repo-check",
		"--dangerously-bypass-approvals-and-sandbox", prompt)
	command.Dir = t.TempDir()
	command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "CODEX_HOME=" + home}, environment...)
	var out, log bytes.Buffer
	command.Stdout, command.Stderr = &out, &log
	run := Run{}
	var exit *exec.ExitError
	switch err := command.Run(); {
	case errors.As(err, &exit) && ctx.Err() == nil:
		run.ExitCode = exit.ExitCode()
	case err != nil:
		t.Fatalf("codextest: %v\n%s%s", err, out.Bytes(), log.Bytes())
	}
	run.Log = log.String()
	for line := range strings.Lines(out.String()) {
		event := Event{Line: strings.TrimSpace(line)}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("codextest: %v: %s", err, line)
		}
		run.Events = append(run.Events, event)
	}
	return run
}

// Text is all that the CLI printed, for messages of tests.
func (r Run) Text() string {
	var b strings.Builder
	for _, event := range r.Events {
		b.WriteString(event.Line + "\n")
	}
	return fmt.Sprintf("exit code %d\n%s%s", r.ExitCode, b.String(), r.Log)
}
