package agent

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// readFile is what an agent reads of a file of testdata.
func readFile(t *testing.T, a Agent, name string) []Report {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var reports []Report
	for line := range strings.Lines(string(text)) {
		reports = append(reports, a.Read(line)...)
	}
	return reports
}

func TestClaudeReads(t *testing.T) {
	t.Parallel()
	const session = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
	said := func(text string) Report {
		return Report{Type: Progress, Summary: text, Content: map[string]any{"kind": "message", "text": text}}
	}
	used := func(input, output int64) Report {
		return Report{Usage: &Usage{Model: "claude-sonnet-4-5", Input: input, Output: output, Part: true}}
	}
	want := []Report{
		{Type: Progress, Session: session, Content: map[string]any{"kind": "session", "session": session, "model": "claude-sonnet-4-5"}},
		said("I write the greeting."), used(4, 1),
		{Type: Progress, Content: map[string]any{
			"kind": "tool", "tool": "Bash", "input": `{"command":"echo hello > hello.txt","description":"Write the greeting"}`,
		}}, used(0, 59), // the same message, of which more is written
		{Type: Progress, Content: map[string]any{"kind": "toolResult", "output": `"bash: hello.txt: Permission denied"`, "failed": true}},
		said("The greeting is there."), used(6, 8),
		{Session: session, Summary: "The greeting is there.", Usage: &Usage{
			Model: "claude-sonnet-4-5", Input: 1000, Cached: 700, USD: 0.0123, // the rest, and what all of it cost
		}},
	}
	if got := readFile(t, &claude{}, "claude.jsonl"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestClaudeFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		result string
		want   Failure
	}{
		"too many turns": {`"subtype":"error_max_turns","is_error":false,"errors":[]`, Failure{ClassAgent, "it ended with error_max_turns", 0}},
		"an error":       {`"subtype":"error_during_execution","is_error":true,"errors":["no such tool"]`, Failure{ClassAgent, "no such tool", 0}},
		"its own budget": {`"subtype":"error_max_budget_usd","is_error":true,"errors":["over $1"]`, Failure{ClassBudget, "over $1", 0}},
		"rate limit": {
			`"subtype":"success","is_error":true,"result":"API Error: 429 rate_limit_error, try again in 20 seconds"`,
			Failure{ClassQuota, "API Error: 429 rate_limit_error, try again in 20 seconds", 20 * time.Second},
		},
		"credential": {
			`"subtype":"success","is_error":true,"result":"Invalid API key · Please run /login"`,
			Failure{ClassAuthentication, "Invalid API key · Please run /login", 0},
		},
		"provider": {
			`"subtype":"success","is_error":true,"result":"API Error: 503 upstream"`, Failure{ClassInfrastructure, "API Error: 503 upstream", 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := (&claude{}).Read(`{"type":"result",` + c.result + `}`)
			if len(got) != 1 || got[0].Failure == nil || *got[0].Failure != c.want || got[0].Summary != "" {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestClaudeStarts(t *testing.T) {
	t.Parallel()
	got := (&claude{}).Start(Task{
		Prompt: "Greet.", Arguments: []string{"--max-turns", "9"}, Model: "opus", Session: "s-1", MCP: "http://memory/mcp",
	})
	args := strings.Join(got.Args, " ")
	for _, want := range []string{
		"--print --output-format stream-json --verbose", "--resume s-1", "--model opus", `"url":"http://memory/mcp"`,
		"Bearer ${GRAF_CALLBACK_TOKEN}", "--max-turns 9",
	} {
		if !strings.Contains(args, want) {
			t.Errorf("%q is not in %s", want, args)
		}
	}
	if got.Input != "Greet." || slices.Contains(got.Args, "Greet.") {
		t.Errorf("input %q, arguments %q", got.Input, got.Args)
	}
}
