package main

import (
	"fmt"
	"time"
)

// scenario is a run, or two.
type scenario struct {
	name string
	// turns are the model's; again are those of a second run that goes on with the session.
	turns, again []turn
	mcp          bool
	session      string
	arguments    []string
	// environment has variables besides those that all have.
	environment []string
	// stop is when it is told to end.
	stop time.Duration
	// filed is whether the session's file is recorded, too.
	filed bool
}

func says(text string) turn { return turn{content: []object{{"type": "text", "text": text}}} }

// calls is a turn that calls a tool.
func calls(id int, tool string, input object) turn {
	return turn{content: []object{{"type": "tool_use", "id": fmt.Sprintf("toolu_%02d", id), "name": tool, "input": input}}}
}

func runs(id int, command string) turn {
	return calls(id, "Bash", object{"command": command, "description": "Run it"})
}

func looks(background bool) turn {
	return calls(1, "Agent", object{
		"description": "look", "prompt": "Look around.", "subagent_type": "general-purpose", "run_in_background": background,
	})
}

func limited(retryAfter string) turn {
	return turn{status: 429, kind: "rate_limit_error", message: "This request would exceed the rate limit.", retryAfter: retryAfter}
}

// retries bounds how often the CLI asks again, so that a recording is short.
func retries(n int) []string { return []string{fmt.Sprintf("CLAUDE_CODE_MAX_RETRIES=%d", n)} }

func scenarios() []scenario {
	writes := runs(1, "echo hello > hello.txt && cat hello.txt")
	writes.content = append([]object{
		{"type": "thinking", "thinking": "A file is to be written."}, {"type": "text", "text": "I write the greeting."},
	}, writes.content...)
	ends := says("The greeting is there.")
	cut, endless, slow := says("I begin."), says("I begin."), ends
	cut.stop, endless.stop, slow.delay = "error", "max_tokens", patience
	return []scenario{
		{name: "tool", filed: true, turns: []turn{writes, runs(2, "cat no-such-file"), ends}},
		{name: "mcp", mcp: true, turns: []turn{calls(1, "mcp__graf__record_lesson", object{"lesson": "Greet first."}), says("It is recorded.")}},
		{name: "mcp-refused", mcp: true, turns: []turn{says("There is no tool.")}, environment: []string{"GRAF_CALLBACK_TOKEN=another-token"}},
		{name: "subagent", turns: []turn{looks(false), runs(2, "ls"), says("I looked around."), ends}},
		{name: "background", turns: []turn{looks(true), says("One looks."), says("I looked around."), ends}},
		{name: "resumed", filed: true, turns: []turn{writes, ends}, again: []turn{says("I went on.")}},
		{name: "limited-once", turns: []turn{limited("2"), ends}},
		{name: "limited", turns: []turn{writes, limited("4")}, environment: retries(1)},
		{name: "limited-long", turns: []turn{limited("3600")}},
		{name: "unauthorized", turns: []turn{{status: 401, kind: "authentication_error", message: "invalid x-api-key"}}, environment: retries(1)},
		{name: "forbidden", turns: []turn{{status: 403, kind: "permission_error", message: "not allowed to use the model"}}},
		{name: "no-credit", turns: []turn{{status: 400, kind: "invalid_request_error", message: "Your credit balance is too low to access the Anthropic API."}}},
		{name: "overloaded", turns: []turn{{status: 529, kind: "overloaded_error", message: "Overloaded"}}, environment: retries(1)},
		{name: "unavailable", turns: []turn{{status: 503, kind: "api_error", message: "upstream connect error"}}, environment: retries(0), again: []turn{ends}},
		{name: "away", turns: []turn{ends}, environment: append(retries(0), "ANTHROPIC_BASE_URL=http://127.0.0.1:1")},
		{name: "no-host", turns: []turn{ends}, environment: append(retries(0), "ANTHROPIC_BASE_URL=http://model.invalid")},
		{name: "cut", turns: []turn{cut}},
		{name: "silent", turns: []turn{slow}, environment: append(retries(0), "API_TIMEOUT_MS=1500")},
		{name: "no-model", turns: []turn{{status: 404, kind: "not_found_error", message: "model: none"}}},
		{name: "too-long", turns: []turn{{status: 400, kind: "invalid_request_error", message: "prompt is too long: 250000 tokens > 200000 maximum"}}},
		{name: "endless", turns: []turn{endless}},
		{name: "max-turns", turns: []turn{writes, ends}, arguments: []string{"--max-turns", "1"}},
		{name: "max-budget", turns: []turn{writes, ends}, arguments: []string{"--max-budget-usd", "0.0001"}},
		{name: "no-session", turns: []turn{ends}, session: "0b1f2a60-0001-4000-8000-000000000001"},
		{name: "terminated", filed: true, turns: []turn{writes, runs(2, "echo waits; python3 -c 'import time; time.sleep(60)'"), ends}, stop: 8 * time.Second},
	}
}
