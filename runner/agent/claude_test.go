package agent

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The session and the model of every recording.
const (
	recordedSession = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
	recordedModel   = "claude-opus-5-5"
)

// linesOf are those of a recording.
func linesOf(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "claude", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(strings.Lines(string(text)))
}

// replay has an agent read a recording.
func replay(t *testing.T, a Agent, name string) []Report {
	t.Helper()
	var reports []Report
	for _, line := range linesOf(t, name) {
		reports = append(reports, a.Read(line)...)
	}
	return reports
}

// What the recorded reports are made of.
func began() Report {
	return Report{Type: Progress, Session: recordedSession, Content: map[string]any{
		"kind": "session", "session": recordedSession, "model": recordedModel,
	}}
}

func said(text string) Report {
	return Report{Type: Progress, Summary: text, Content: map[string]any{"kind": "message", "text": text}}
}

func logged(text string) Report { return Report{Type: Log, Content: map[string]any{"text": text}} }

func called(tool, input string) Report {
	return Report{Type: Progress, Content: map[string]any{"kind": "tool", "tool": tool, "input": input}}
}

func ran(command string) Report {
	return called("Bash", `{"command":"`+command+`","description":"Run it"}`)
}

func answered(output string, failed bool) Report {
	return Report{Type: Progress, Content: map[string]any{"kind": "toolResult", "output": output, "failed": failed}}
}

func waited(seconds float64, reason string, class Class) Report {
	return Report{Type: Progress, Content: map[string]any{"kind": "waiting", "seconds": seconds, "reason": reason, "class": class}}
}

// asked is the usage of a message as its beginning tells it: 1004 tokens of input, 700 of
// them cached, and the first one of the output.
func asked() Report {
	return Report{Usage: &Usage{Model: recordedModel, Input: 1004, Cached: 700, Output: 1, Part: true}}
}

// completed is what its end tells besides.
func completed() Report {
	return Report{Usage: &Usage{Model: recordedModel, Output: 59, Reasoning: 40, Part: true}}
}

// ended is the end of a run that succeeded, with the rest of the output of so many messages
// and what so many cost.
func ended(summary string, rest, cost int) Report {
	return Report{Session: recordedSession, Summary: summary, Usage: restOf(rest, cost)}
}

func restOf(rest, cost int) *Usage {
	return &Usage{Model: recordedModel, Output: int64(59 * rest), Reasoning: int64(40 * rest), USD: float64(cost) * 2856 / 1e6}
}

const write = `echo hello > hello.txt && cat hello.txt`

// TestClaudeReads what was recorded.
func TestClaudeReads(t *testing.T) {
	t.Parallel()
	// It thinks first, of which only the usage is told.
	writes := []Report{began(), asked(), said("I write the greeting."), ran(write), answered("hello", false)}
	looks := func(background string) Report {
		return called("Agent", `{"description":"look","prompt":"Look around.","run_in_background":`+background+`,"subagent_type":"general-purpose"}`)
	}
	byOther := said("I looked around.")
	byOther.Summary = ""
	lesson := called("record_lesson", `{"lesson":"Greet first."}`)
	lesson.Content["server"] = "graf"
	for name, want := range map[string][]Report{
		"tool": slices.Concat(writes, []Report{
			ran("cat no-such-file"), asked(), answered("Exit code 1\ncat: no-such-file: No such file or directory", true),
			said("The greeting is there."), asked(), ended("The greeting is there.", 3, 3),
		}),
		"mcp": {
			began(), lesson, asked(), answered("The lesson is recorded.", false), said("It is recorded."), asked(), ended("It is recorded.", 2, 2),
		},
		"mcp-refused": {
			began(), logged("the MCP server graf is not connected: failed"), said("There is no tool."), asked(), ended("There is no tool.", 1, 1),
		},
		// Its last message is in what the tool answers; its usage at the end.
		"subagent": {
			began(), looks("false"), asked(), ran("ls"), asked(), answered("(Bash completed with no output)", false),
			answered("  <tools-used-before-summary>Bash</tools-used-before-summary>\n  \n[Subagent hand-back] The text below…", false),
			said("The greeting is there."), asked(),
			{Session: recordedSession, Summary: "The greeting is there.", Usage: &Usage{
				Model: recordedModel, Input: 1004, Cached: 700, Output: 3*59 + 60, Reasoning: 160, USD: 0.011424,
			}},
		},
		// There are two results, of which the first tells all that was used.
		"background": {
			began(), looks("true"), asked(),
			answered("Async agent launched successfully. (This tool result is internal metadata — never quote or paste a…", false),
			said("One looks."), asked(), byOther, asked(),
			said("The greeting is there."), asked(), ended("One looks.", 4, 4), ended("The greeting is there.", 0, 0),
		},
		"limited-once": {
			began(), waited(2.135, "429 rate_limit, retry 1 of 10", ClassQuota), said("The greeting is there."), asked(),
			ended("The greeting is there.", 1, 1),
		},
		"terminated": slices.Concat(writes, []Report{
			ran("echo waits; python3 -c 'import time; time.sleep(60)'"), asked(), answered("Exit code 137\nwaits", true),
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			same(t, replay(t, &claude{}, name), want)
		})
	}
}

// same compares reports.
func same(t *testing.T, got, want []Report) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("%d: none, want %s", i, show(want[i]))
		case i >= len(want) || !reflect.DeepEqual(got[i], want[i]):
			t.Errorf("%d: got %s", i, show(got[i]))
			if i < len(want) {
				t.Errorf("%d:want %s", i, show(want[i]))
			}
		}
	}
}

func show(r Report) string {
	text := fmt.Sprintf("%s %q session=%q summary=%q", r.Type, r.Content, r.Session, r.Summary)
	if r.Usage != nil {
		text += fmt.Sprintf(" usage=%+v", *r.Usage)
	}
	return text
}

// TestClaudeFails as it was recorded: why, when to try again, and what was used that was
// not told before.
func TestClaudeFails(t *testing.T) {
	t.Parallel()
	const rejected = "API Error: Request rejected (429) · This request would exceed the rate limit."
	nothing := &Usage{Model: recordedModel}
	for name, c := range map[string]struct {
		want Failure
		used *Usage
	}{
		"limited":      {Failure{ClassQuota, rejected, 4896 * time.Millisecond}, restOf(1, 1)},
		"limited-long": {Failure{ClassQuota, rejected, 0}, nothing}, // it does not tell that an hour was asked for
		"no-credit":    {Failure{ClassQuota, "Credit balance is too low", 0}, nothing},
		"overloaded": {
			Failure{ClassQuota, "API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment.…", 533 * time.Millisecond},
			nothing,
		},
		"unauthorized": {Failure{ClassAuthentication, "Invalid API key · Fix external API key", 0}, nothing},
		"forbidden":    {Failure{ClassAuthentication, "Failed to authenticate. API Error: 403 not allowed to use the model", 0}, nothing},
		"unavailable": {
			Failure{ClassInfrastructure, "API Error: 503 upstream connect error. This is a server-side issue, usually temporary — try again …", 0},
			nothing,
		},
		"away":    {Failure{ClassInfrastructure, "API Error: Connection refused — a firewall or proxy may be blocking it (ECONNREFUSED)", 0}, nothing},
		"no-host": {Failure{ClassInfrastructure, "API Error: Can't reach the API server — check your internet or DNS (EAI_AGAIN)", 0}, nothing},
		"silent": {
			Failure{ClassInfrastructure, "Request timed out. If the API is slow to answer, or a proxy or gateway holds responses, set API_TIME…", 0},
			nothing,
		},
		"cut": {
			Failure{ClassInfrastructure, "API Error: Server error mid-response. The response above may be incomplete.", 0},
			&Usage{Model: recordedModel, USD: 0.006703999999999999},
		},
		"no-model": {
			Failure{ClassAgent, "There's an issue with the selected model (claude-opus-5-5). It may not exist or you may not have acc…", 0}, nothing,
		},
		"too-long": {
			Failure{ClassAgent, "Prompt is too long · the request is ~250000 tokens (limit 200000) but this conversation is only ~26…", 0}, nothing,
		},
		"endless": {
			Failure{ClassAgent, "API Error: Claude's response exceeded the 128000 output token maximum. To configure this behavior, s…", 0}, restOf(4, 4),
		},
		"max-turns":  {Failure{ClassAgent, "Reached maximum number of turns (1)", 0}, restOf(1, 1)},
		"max-budget": {Failure{ClassBudget, "Reached maximum budget ($0.0001)", 0}, restOf(1, 1)},
		"no-session": {Failure{ClassAgent, "No conversation found with session ID: " + recordedSession, 0}, &Usage{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reports := replay(t, &claude{}, name)
			last := reports[len(reports)-1]
			if last.Failure == nil || *last.Failure != c.want || last.Summary != "" || last.Session != recordedSession {
				t.Errorf("got %s, failure %+v, want %+v", show(last), last.Failure, c.want)
			}
			if !reflect.DeepEqual(last.Usage, c.used) {
				t.Errorf("it used %+v, want %+v", last.Usage, c.used)
			}
			for _, report := range reports {
				if report.Summary != "" && !strings.HasPrefix(report.Summary, "I ") {
					t.Errorf("not the model's words: %s", show(report))
				}
			}
		})
	}
}

// TestClaudeFailsByOtherWords of versions that tell no more than a text.
func TestClaudeFailsByOtherWords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		result string
		want   Failure
	}{
		"nothing said": {`"subtype":"error_max_turns","is_error":false,"errors":[]`, Failure{ClassAgent, "it ended with error_max_turns", 0}},
		"rate limit": {
			`"subtype":"success","is_error":true,"result":"API Error: 429 rate_limit_error, try again in 20 seconds"`,
			Failure{ClassQuota, "API Error: 429 rate_limit_error, try again in 20 seconds", 20 * time.Second},
		},
		"a status beside other words": {
			`"subtype":"success","is_error":true,"api_error_status":401,"result":"429, try again in 20 seconds"`,
			Failure{ClassAuthentication, "429, try again in 20 seconds", 0},
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

// TestClaudeCounts each message once, whatever is read first: the output, or the session's
// file, which tells what a message used when it was complete.
func TestClaudeCounts(t *testing.T) {
	t.Parallel()
	messages := func(n int, cost float64) Usage {
		return Usage{
			Model: recordedModel, Input: int64(1004 * n), Cached: int64(700 * n), Output: int64(60 * n), Reasoning: int64(40 * n), USD: cost,
		}
	}
	const start, filed = "start", ".session"
	for name, c := range map[string]struct {
		reads []string
		want  Usage
	}{
		"output alone":        {[]string{"tool"}, messages(3, 0.008568)},
		"output, then file":   {[]string{"tool", "tool" + filed}, messages(3, 0.008568)},
		"file, then output":   {[]string{"tool" + filed, "tool"}, messages(3, 0.008568)},
		"of one stopped":      {[]string{"terminated", "terminated" + filed}, messages(2, 0)},
		"of one stopped late": {[]string{"terminated" + filed, "terminated"}, messages(2, 0)},
		// Its cost is that of the whole session, and its file has the messages of before.
		"of one gone on with": {[]string{"resumed", start, "resumed-again" + filed, "resumed-again"}, messages(3, 0.008568)},
		"of a session before": {[]string{start, "resumed-again" + filed, "resumed-again"}, messages(1, 0.002856)},
		"subagents":           {[]string{"subagent"}, messages(4, 0.011424)},
		"two results":         {[]string{"background"}, messages(4, 0.011424)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program, sum := &claude{}, Usage{}
			for _, name := range c.reads {
				if name == start {
					program.Start(Task{Session: recordedSession})
					continue
				}
				read := program.Read
				if strings.HasSuffix(name, filed) {
					read = program.ReadSession
				}
				sum = sum.Add(usageOf(t, read, name))
			}
			if math.Abs(sum.USD-c.want.USD) < 1e-9 {
				sum.USD = c.want.USD
			}
			if sum != c.want {
				t.Errorf("got %+v, want %+v", sum, c.want)
			}
		})
	}
}

// usageOf is the sum of what lines of a recording tell.
func usageOf(t *testing.T, read func(line string) []Report, name string) Usage {
	t.Helper()
	var sum Usage
	for _, line := range linesOf(t, name) {
		for _, report := range read(line) {
			if report.Usage != nil {
				sum = sum.Add(*report.Usage)
			}
		}
	}
	return sum
}

// TestClaudeTellsOutputEarly by the session's file, as a budget needs it.
func TestClaudeTellsOutputEarly(t *testing.T) {
	t.Parallel()
	program := &claude{}
	replay(t, program, "terminated")
	var got []Report
	for _, line := range linesOf(t, "terminated.session") {
		got = append(got, program.ReadSession(line)...)
	}
	same(t, got, []Report{completed(), completed()})
}

// TestClaudeOfOlderVersions tells the usage and the cost of a run by the fields that are
// documented.
func TestClaudeOfOlderVersions(t *testing.T) {
	t.Parallel()
	program := &claude{}
	program.Start(Task{Model: "opus"})
	got := program.Read(`{"type":"result","subtype":"success","result":"Done.","total_cost_usd":0.0123,` +
		`"usage":{"input_tokens":10,"cache_creation_input_tokens":300,"cache_read_input_tokens":700,"output_tokens":68}}`)
	same(t, got, []Report{{Summary: "Done.", Usage: &Usage{Model: "opus", Input: 1010, Cached: 700, Output: 68, USD: 0.0123}}})
}

func TestClaudeSessionFile(t *testing.T) {
	t.Parallel()
	for name, variable := range map[string]string{".claude": "HOME", "": "CLAUDE_CONFIG_DIR"} {
		home := t.TempDir()
		folder := filepath.Join(home, name, "projects", "-workspace")
		file := filepath.Join(folder, recordedSession+".jsonl")
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		environment := func(asked string) string {
			if asked == variable {
				return home
			}
			return ""
		}
		program := &claude{}
		if got := program.SessionFile(environment, recordedSession); got != file {
			t.Errorf("%s: %q, want %q", variable, got, file)
		}
		for _, none := range []string{"", "*", "another"} {
			if got := program.SessionFile(environment, none); got != "" {
				t.Errorf("%s: session %q has %q", variable, none, got)
			}
		}
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
