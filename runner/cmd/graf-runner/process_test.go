package main_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/api"
)

// TestNothingIsLeft of what an agent started.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pids")
	script := strings.ReplaceAll(`sleep 987 & echo $! >> pids
sh -c 'setsid sh -c "trap \"\" TERM; echo \$\$ >> pids; while :; do sleep 1; done" &'
until test "$(wc -l < pids)" = 2; do sleep 0.01; done; exit 5`, "pids", file)
	got := run(t, task(t, newCallback(t).URL), nil, "--grace", "300ms", "--", "sh", "-c", script)
	if got.code != 5 || got.took > 20*time.Second {
		t.Errorf("code %d after %v: %s", got.code, got.took, got.stderr)
	}
	gone(t, file)
}

// TestStopped: by a signal, as Kubernetes does it, and by the deadline.
func TestStopped(t *testing.T) {
	t.Parallel()
	const stubborn, willing, content = "trap '' TERM; touch began; while :; do sleep 0.1; done",
		"trap 'echo bye; exit 4' TERM; touch began; while :; do sleep 0.1; done", "trap 'exit 0' TERM; touch began; while :; do sleep 0.1; done"
	for name, c := range map[string]struct {
		script   string
		deadline bool
		code     int
		reason   string
		failure  string
		log      string
	}{
		"by a signal":              {script: willing, code: 4, reason: "cancelled: terminated", failure: "<nil>", log: "bye\n"},
		"by a signal, with code 0": {script: content, code: 1, reason: "cancelled: terminated", failure: "<nil>"},
		"by a signal, unwilling":   {script: stubborn, code: 137, reason: "cancelled: terminated", failure: "<nil>"},
		"by the deadline": {
			script: willing, deadline: true, code: 4, reason: "did not end before the deadline and was stopped", failure: "map[class:timeout]",
			log: "bye\n",
		},
		"by the deadline, unwilling": {
			script: stubborn, deadline: true, code: 137, reason: "did not end before the deadline and was stopped", failure: "map[class:timeout]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := newCallback(t)
			began := filepath.Join(t.TempDir(), "began")
			environment := task(t, calls.URL)
			stop := func(pid int) {
				for t.Context().Err() == nil {
					if _, err := os.Stat(began); err == nil {
						break
					}
					time.Sleep(5 * time.Millisecond)
				}
				if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
					t.Error(err)
				}
			}
			if c.deadline {
				environment, stop = append(environment, "GRAF_DEADLINE="+time.Now().Add(3*time.Second).Format(time.RFC3339)), nil
			}
			got := run(t, environment, stop, "--grace", "500ms", "--", "sh", "-c", strings.ReplaceAll(c.script, "began", began))
			failed := calls.of(api.EventTypeFailed)
			if got.code != c.code || len(failed) != 1 || failed[0]["reason"] != c.reason || fmt.Sprint(failed[0]["failure"]) != c.failure {
				t.Errorf("code %d, want %d; failed: %v", got.code, c.code, failed)
			}
			has(t, "the log", calls.logged("stdout"), c.log)
		})
	}
}

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	for every, least := range map[string]int{"100ms": 3, "0": 0} {
		c := newCallback(t)
		if got := run(t, task(t, c.URL), nil, "--heartbeat", every, "--", "sleep", "1"); got.code != 0 {
			t.Fatalf("code %d: %s", got.code, got.stderr)
		}
		if beats := len(c.of(api.EventTypeHeartbeat)); beats < least || (least == 0 && beats > 0) {
			t.Errorf("every %s: %d heartbeats", every, beats)
		}
	}
}

// TestSecretsStayHidden in the log and in events, however they are written.
func TestSecretsStayHidden(t *testing.T) {
	t.Parallel()
	const secret, other = `pa"ss&word/1`, "value-of-a-name"
	encoded := base64.StdEncoding.EncodeToString([]byte(secret))
	script := `printf 'pa"ss'; sleep 0.1; printf '&word/1\n'; echo "$DB_PASSWORD $NAMED" >&2; echo ` + encoded + `
echo '-----BEGIN PRIVATE KEY-----'; echo MIIEvQIBADANBgkq; echo '-----END PRIVATE KEY-----'; echo "callback $GRAF_CALLBACK_TOKEN"; echo after
printf '%s\n' '{"type":"system","subtype":"init","session_id":"value-of-a-name"}'
printf '%s\n' '{"type":"assistant","message":{"content":[{"type":"text","text":"It is pa\"ss\u0026word/1, or value-of-\u0061-name."}]}}'
printf '%s\n' '{"type":"result","subtype":"error_during_execution","is_error":true,"errors":["no pa\"ss&word/1"]}'`
	for _, kind := range []string{"command", "claude"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := newCallback(t)
			environment := task(t, c.URL, install(t, map[string]string{"claude": script, "talks": script}), "DB_PASSWORD="+secret, "NAMED="+other)
			got := run(t, environment, nil, "--agent", kind, "--secret", "NAMED", "--", "talks")
			for what, text := range map[string]string{"output": got.stdout, "standard error": got.stderr, "events": c.said()} {
				for _, hidden := range []string{secret, `pa\"ss`, "ss&word", "u0026word", encoded, other, "MIIEvQIB", token} {
					if strings.Contains(text, hidden) {
						t.Errorf("%s tells %q:\n%s", what, hidden, text)
					}
				}
			}
			has(t, "the log", c.logged("stdout"), "after\n")
		})
	}
}

// TestClaude runs a program that prints what Claude Code printed when it was recorded.
func TestClaude(t *testing.T) {
	t.Parallel()
	printed, err := filepath.Abs("../../agent/testdata/claude/tool.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	c := newCallback(t)
	path := install(t, map[string]string{"claude": `echo "arguments: $*" >&2; echo "prompt: $(cat)" >&2; cat ` + printed})
	got := run(t, task(t, c.URL, path, "GRAF_MEMORY_URL=http://127.0.0.1:1/v1/codex/tasks/x/memory"), nil,
		"--agent", "claude", "--model", "claude-opus-5-5", "--mcp", "--", "--max-turns", "9")
	if got.code != 0 || len(c.refused) > 0 {
		t.Fatalf("code %d, refused %v: %s", got.code, c.refused, got.stderr)
	}
	has(t, "its log", c.logged("stderr"), "--model claude-opus-5-5", "http://127.0.0.1:1/v1/codex/tasks/x/mcp", "--max-turns 9",
		"prompt: Put a greeting into hello.txt.")
	var kinds []string
	for _, content := range c.of(api.EventTypeProgress) {
		kinds = append(kinds, fmt.Sprint(content["kind"]))
	}
	if want := "[session message tool toolResult tool toolResult message]"; fmt.Sprint(kinds) != want {
		t.Errorf("progress %v, want %s", kinds, want)
	}
	usage, completed := c.of(api.EventTypeUsage), c.of(api.EventTypeCompleted)
	input, usd := 0.0, 0.0
	for _, part := range usage {
		tokens, _ := part["inputTokens"].(float64)
		cost, _ := part["usd"].(float64)
		input, usd = input+tokens, usd+cost
	}
	if len(usage) != 4 || input != 3012.0 || usd != 0.008568 || usage[0]["model"] != "claude-opus-5-5" {
		t.Errorf("usage %v", usage)
	}
	if len(completed) != 1 || completed[0]["summary"] != "The greeting is there." || completed[0]["session"] == nil {
		t.Errorf("completed %v", completed)
	}
}

// TestClaudesBudget holds while it works, in tokens and in dollars by the price list: by
// its output, which tells what was asked, and by its session's file, which has the answer.
func TestClaudesBudget(t *testing.T) {
	t.Parallel()
	message := func(output int) string {
		return fmt.Sprintf(`{"type":"assistant","message":{"id":"m","model":"opus","content":[],"usage":{"input_tokens":900,"output_tokens":%d}}}`, output)
	}
	session := t.TempDir()
	printed := "echo '" + message(100) + "'\nexec sleep 60"
	filed := `echo '{"type":"system","subtype":"init","session_id":"s-1"}'; echo '` + message(1) + `'
mkdir "$CLAUDE_CONFIG_DIR/projects"; mkdir "$CLAUDE_CONFIG_DIR/projects/f"
echo '` + message(100) + `' > "$CLAUDE_CONFIG_DIR/projects/f/s-1.jsonl"; exec sleep 60`
	for _, c := range []struct{ script, budget string }{
		{printed, "GRAF_BUDGET_TOKENS=1000"}, {printed, "GRAF_BUDGET_USD=0.001"}, {filed, "GRAF_BUDGET_TOKENS=1000"},
	} {
		callback := newCallback(t)
		environment := task(t, callback.URL, c.budget, "GRAF_MODEL_PRICES=opus: {input: 1, output: 1}", "CLAUDE_CONFIG_DIR="+session,
			install(t, map[string]string{"claude": c.script}))
		got := run(t, environment, nil, "--agent", "claude")
		failed := callback.of(api.EventTypeFailed)
		if got.took > 30*time.Second || len(failed) != 1 || fmt.Sprint(failed[0]["failure"]) != "map[class:budget]" {
			t.Errorf("%s: after %v: %s", c.budget, got.took, callback.said())
		}
	}
}
