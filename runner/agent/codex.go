package agent

import (
	"strconv"
)

// codex is OpenAI's Codex CLI. Its events are those of codex exec --json: see its
// repository, docs/exec.md, and codex-rs/exec/src/exec_events.rs.
type codex struct{ model string }

func (c *codex) Start(task Task) Invocation {
	c.model = task.Model
	args := []string{"codex", "exec"}
	if task.Session != "" {
		args = append(args, "resume", task.Session)
	}
	args = append(args, "--json", "--skip-git-repo-check",
		// The container is the sandbox, and nobody is there to be asked.
		"--dangerously-bypass-approvals-and-sandbox")
	if task.Model != "" {
		args = append(args, "--model", task.Model)
	}
	if task.MCP != "" {
		args = append(args, "-c", "mcp_servers.graf.url="+strconv.Quote(task.MCP),
			"-c", `mcp_servers.graf.bearer_token_env_var="GRAF_CALLBACK_TOKEN"`)
	}
	// The prompt is standard input: arguments can be read by every process.
	return Invocation{Args: append(append(args, task.Arguments...), "-"), Input: task.Prompt}
}

type codexEvent struct {
	Type     string      `json:"type"`
	ThreadID string      `json:"thread_id"`
	Item     codexItem   `json:"item"`
	Usage    *codexUsage `json:"usage"`
	Error    struct {
		Message string `json:"message"`
	} `json:"error"`
	Message string `json:"message"`
}

type codexItem struct {
	Type             string `json:"type"`
	Text             string `json:"text"`
	Message          string `json:"message"`
	Command          string `json:"command"`
	AggregatedOutput string `json:"aggregated_output"`
	ExitCode         *int   `json:"exit_code"`
	Status           string `json:"status"`
	Changes          []struct {
		Path string `json:"path"`
		Kind string `json:"kind"`
	} `json:"changes"`
	Server string `json:"server"`
	Tool   string `json:"tool"`
	Query  string `json:"query"`
	Items  []struct {
		Text      string `json:"text"`
		Completed bool   `json:"completed"`
	} `json:"items"`
}

type codexUsage struct {
	Input     int64 `json:"input_tokens"`
	Cached    int64 `json:"cached_input_tokens"`
	Output    int64 `json:"output_tokens"`
	Reasoning int64 `json:"reasoning_output_tokens"`
}

func (c *codex) Read(line string) []Report {
	var e codexEvent
	if reports := decode(line, &e); reports != nil {
		return reports
	}
	switch e.Type {
	case "thread.started":
		return []Report{{
			Type: Progress, Content: map[string]any{"kind": "session", "session": e.ThreadID}, Session: e.ThreadID,
		}}
	case "item.completed":
		return e.Item.read()
	case "turn.completed":
		if e.Usage == nil {
			return nil
		}
		return []Report{{Usage: &Usage{
			Model: c.model, Input: e.Usage.Input, Cached: e.Usage.Cached, Output: e.Usage.Output, Reasoning: e.Usage.Reasoning,
		}}}
	case "turn.failed":
		return []Report{{Failure: classify(e.Error.Message)}}
	case "error":
		// Also of a try that is repeated; the turn's end says whether it helped.
		return []Report{{Type: Log, Content: map[string]any{"text": clip(e.Message)}}}
	}
	return nil
}

// read tells of an item that is complete: what began is of no interest by itself.
func (i codexItem) read() []Report {
	content := map[string]any{"kind": i.Type}
	report := Report{Type: Progress, Content: content}
	switch i.Type {
	case "agent_message":
		content["kind"], content["text"], report.Summary = "message", clip(i.Text), i.Text
	case "reasoning":
		content["text"] = clip(i.Text)
	case "command_execution":
		content["kind"], content["command"], content["output"] = "command", clip(i.Command), clip(i.AggregatedOutput)
		content["status"] = i.Status
		if i.ExitCode != nil {
			content["exitCode"] = *i.ExitCode
		}
	case "file_change":
		content["kind"], content["changes"], content["status"] = "fileChange", i.Changes, i.Status
	case "mcp_tool_call":
		content["kind"], content["server"], content["tool"], content["status"] = "tool", i.Server, i.Tool, i.Status
	case "web_search":
		content["kind"], content["query"] = "search", clip(i.Query)
	case "todo_list":
		content["kind"], content["items"] = "plan", i.Items
	case "error":
		report.Type, report.Content = Log, map[string]any{"text": clip(i.Message)}
	}
	return []Report{report}
}
