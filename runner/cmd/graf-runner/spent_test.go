package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/api"
)

// TestSpentByTheEnd: what an agent used with its last request, and a deadline that passes after its end, do not cut its
// push short: here it takes longer than there is for an agent that was stopped.
func TestSpentByTheEnd(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	remote, home, seed := filepath.Join(folder, "remote"), filepath.Join(folder, "home"), filepath.Join(folder, "seed")
	setup := exec.Command("sh", "-ec", `git init -q --bare -b main "$0"
git init -q -b main "$1"; cd "$1"; git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first; git push -q "$0" main
printf '#!/bin/sh\nsleep 7\n' > "$0"/hooks/pre-receive; chmod +x "$0"/hooks/pre-receive`, remote, seed)
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const script = `echo work > work.txt; echo '{"type":"thread.started","thread_id":"s"}'; sleep 1
mkdir -p "$CODEX_HOME/sessions/2026/01/01"
echo '{"payload":{"type":"token_count","info":{"total_token_usage":{"input_tokens":900,"output_tokens":200}}}}' \
  > "$CODEX_HOME/sessions/2026/01/01/rollout-1-s.jsonl"`
	c := newCallback(t)
	environment := task(t, c.URL, "GRAF_BUDGET_TOKENS=1000", "CODEX_HOME="+home, install(t, map[string]string{"codex": script}),
		"GRAF_DEADLINE="+time.Now().Add(6*time.Second).UTC().Format(time.RFC3339))
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	got := run(t, environment, nil, "--agent", "codex", "--folder", filepath.Join(folder, "work"),
		"--repository", "file://"+remote, "--repository-file", "--push")
	usage, completed := c.of(api.EventTypeUsage), c.of(api.EventTypeCompleted)
	if got.code != 0 || len(usage) != 1 || len(completed) != 1 || completed[0]["commit"] == nil || got.took < 7*time.Second {
		t.Errorf("code %d after %v: %s\n%s", got.code, got.took, c.said(), got.stderr)
	}
}
