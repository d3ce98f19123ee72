package responsestest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Turn is what the server answers one request with: what the model says and the
// tools it calls, or an error in its place. The zero value says nothing.
type Turn struct {
	// Message is what the assistant says; "" for nothing.
	Message string
	// Calls are the tools that it calls.
	Calls []Call
	// Usage is counted for this turn.
	Usage Usage
	// Delay is how long the client waits for the first byte.
	Delay time.Duration
	// Status is that of an error, 0 for none; Code and RetryAfter go with it.
	Status int
	Code   string
	// RetryAfter is what the client is asked to wait, 0 for nothing said.
	RetryAfter time.Duration
	// Forever is whether all later requests are answered with this turn, too.
	Forever bool
}

// Call is a call of a tool.
type Call struct {
	// Namespace is that of a tool that has one, such as "mcp__graf".
	Namespace string
	Name      string
	// Arguments are what it is called with, as JSON has them.
	Arguments any
}

// Usage counts the tokens of a turn.
type Usage struct {
	Input     int
	Cached    int // of Input
	Output    int
	Reasoning int // of Output
}

// usage is what a turn takes that does not say.
var usage = Usage{Input: 100, Cached: 20, Output: 10}

// Says is a turn in which the assistant says something, which ends its work.
func Says(text string) Turn { return Turn{Message: text} }

// Executes is a turn in which Codex is told to run a command by its shell.
func Executes(command string) Turn {
	return Calls("exec_command", map[string]any{"cmd": command})
}

// Calls is a turn that calls one tool.
func Calls(name string, arguments any) Turn {
	return Turn{Calls: []Call{{Name: name, Arguments: arguments}}}
}

// CallsMCP is a turn that calls a tool of an MCP server, by the name that Codex's
// configuration gives the server.
func CallsMCP(server, tool string, arguments any) Turn {
	return Turn{Calls: []Call{{Namespace: "mcp__" + server, Name: tool, Arguments: arguments}}}
}

// RateLimited is a turn that is refused for now.
func RateLimited(retryAfter time.Duration) Turn {
	return Turn{Status: http.StatusTooManyRequests, Code: "rate_limit_exceeded", RetryAfter: retryAfter}
}

// QuotaExceeded is a turn that is refused until somebody pays.
func QuotaExceeded() Turn {
	return Turn{Status: http.StatusTooManyRequests, Code: "insufficient_quota"}
}

// Unauthorized is a turn that is refused for its API key.
func Unauthorized() Turn {
	return Turn{Status: http.StatusUnauthorized, Code: "invalid_api_key"}
}

// Uses is a copy of t that takes so many tokens.
func (t Turn) Uses(u Usage) Turn {
	t.Usage = u
	return t
}

// Slowly is a copy of t that comes after delay.
func (t Turn) Slowly(delay time.Duration) Turn {
	t.Delay = delay
	return t
}

// Always is a copy of t that answers all later requests, too.
func (t Turn) Always() Turn {
	t.Forever = true
	return t
}

// object is a JSON object.
type object = map[string]any

// events are the server-sent events of a turn, the n-th of its script.
func (t Turn) events(n int) ([]object, error) {
	id := "resp_" + strconv.Itoa(n)
	events := []object{{"type": "response.created", "response": object{"id": id}}}
	add := func(item object) {
		events = append(events, object{"type": "response.output_item.done", "output_index": len(events) - 1, "item": item})
	}
	for i, call := range t.Calls {
		arguments, err := json.Marshal(call.Arguments)
		if err != nil {
			return nil, err
		}
		item := object{
			"type": "function_call", "id": "fc_" + id + "_" + strconv.Itoa(i), "call_id": "call_" + id + "_" + strconv.Itoa(i),
			"name": call.Name, "arguments": string(arguments),
		}
		if call.Namespace != "" {
			item["namespace"] = call.Namespace
		}
		add(item)
	}
	if t.Message != "" {
		add(object{
			"type": "message", "id": "msg_" + id, "role": "assistant",
			"content": []object{{"type": "output_text", "text": t.Message}},
		})
	}
	u := t.Usage
	if u == (Usage{}) {
		u = usage
	}
	return append(events, object{"type": "response.completed", "response": object{"id": id, "usage": object{
		"input_tokens": u.Input, "input_tokens_details": object{"cached_tokens": u.Cached},
		"output_tokens": u.Output, "output_tokens_details": object{"reasoning_tokens": u.Reasoning},
		"total_tokens": u.Input + u.Output,
	}}}), nil
}
