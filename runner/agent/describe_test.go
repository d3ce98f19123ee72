package agent

import (
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	for want, content := range map[string]map[string]any{
		"session s1":                       {"kind": "session", "session": "s1"},
		"make test && echo: exit code 2":   {"kind": "command", "command": "make test &&\n  echo", "exitCode": 2, "output": "…"},
		"sleep 1: declined":                {"kind": "command", "command": "sleep 1", "status": "declined"},
		"update a.go, add b.go":            {"kind": "fileChange", "changes": []map[string]string{{"path": "a.go", "kind": "update"}, {"path": "b.go", "kind": "add"}}},
		"graf record_lesson: completed":    {"kind": "tool", "server": "graf", "tool": "record_lesson", "status": "completed"},
		"Read":                             {"kind": "tool", "tool": "Read", "input": "{}"},
		"plan: 1 of 2 steps are done":      {"kind": "plan", "items": []map[string]any{{"completed": true}, {"completed": false}}},
		"waits 3 s for another try: 429 …": {"kind": "waiting", "seconds": 3.0, "reason": "429 …"},
		"searched the web: go":             {"kind": "search", "query": "go"},
		"":                                 {"kind": "message", "text": "Done."},
	} {
		if got := Describe(content); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := Describe(map[string]any{"kind": "command", "command": strings.Repeat("é", 200), "exitCode": 0}); len(got) > 230 {
		t.Errorf("it has %d bytes", len(got))
	}
}
