package agent

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// codex is OpenAI's Codex CLI. Its events are those of codex exec --json: see its
// repository, docs/exec.md, and codex-rs/exec/src/exec_events.rs.
type codex struct {
	model string
	// mu guards counted: what the session has used, as far as that was told. Both its
	// file and its output tell the sum of the session from its beginning.
	mu      sync.Mutex
	counted Usage
}

// Start implements Agent.
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
	args = append(args, provider(task.Environment("OPENAI_BASE_URL"))...)
	if task.MCP != "" {
		args = append(args, "-c", "mcp_servers.graf.url="+strconv.Quote(task.MCP),
			"-c", `mcp_servers.graf.bearer_token_env_var="GRAF_CALLBACK_TOKEN"`, "-c", "mcp_servers.graf.startup_timeout_sec=60")
	}
	// The prompt is standard input: arguments can be read by every process.
	invocation := Invocation{Args: append(append(args, task.Arguments...), "-"), Input: task.Prompt}
	if key := task.Environment("OPENAI_API_KEY"); key != "" && task.Environment("CODEX_API_KEY") == "" {
		invocation.Env = []string{"CODEX_API_KEY=" + key}
	}
	return invocation
}

// provider are the settings for a model that is not served at OpenAI's own address.
func provider(url string) []string {
	if url == "" {
		return nil
	}
	return []string{
		"-c", `model_provider="endpoint"`, "-c", `model_providers.endpoint.name="endpoint"`,
		"-c", "model_providers.endpoint.base_url=" + strconv.Quote(url),
		"-c", `model_providers.endpoint.env_key="OPENAI_API_KEY"`, "-c", `model_providers.endpoint.wire_api="responses"`,
	}
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
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
	Query string `json:"query"`
	Items []struct {
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

// count tells what has been used since the last time.
func (c *codex) count(sum codexUsage) []Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	since := Usage{
		Model: c.model, Input: max(0, sum.Input-c.counted.Input), Cached: max(0, sum.Cached-c.counted.Cached),
		Output: max(0, sum.Output-c.counted.Output), Reasoning: max(0, sum.Reasoning-c.counted.Reasoning),
	}
	since = since.bounded()
	c.counted = c.counted.Add(since)
	if since.Tokens() == 0 {
		return nil
	}
	return []Report{{Usage: &since}}
}

// SessionFile is sessions/YYYY/MM/DD/rollout-TIME-ID.jsonl in CODEX_HOME.
func (c *codex) SessionFile(environment func(name string) string, session string) string {
	home := environment("CODEX_HOME")
	if home == "" {
		home = filepath.Join(environment("HOME"), ".codex")
	}
	return findSession(session, filepath.Join(home, "sessions", "*", "*", "*"), "rollout-*-")
}

// ReadSession counts the tokens of each request to the model.
func (c *codex) ReadSession(line string) []Report {
	var e struct {
		Payload struct {
			Type string `json:"type"`
			Info *struct {
				Sum *codexUsage `json:"total_token_usage"`
			} `json:"info"`
		} `json:"payload"`
	}
	if !strings.Contains(line, `"token_count"`) || json.Unmarshal([]byte(line), &e) != nil ||
		e.Payload.Type != "token_count" || e.Payload.Info == nil || e.Payload.Info.Sum == nil {
		return nil
	}
	return c.count(*e.Payload.Info.Sum)
}

// Read implements Agent.
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
		return c.count(*e.Usage)
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
		content["kind"], content["text"], report.Summary = "message", clip(i.Text), clip(i.Text)
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
		if i.Error != nil {
			content["error"] = clip(i.Error.Message)
		}
	case "web_search":
		content["kind"], content["query"] = "search", clip(i.Query)
	case "todo_list":
		content["kind"], content["items"] = "plan", i.Items
	case "error":
		report.Type, report.Content = Log, map[string]any{"text": clip(i.Message)}
	}
	return []Report{report}
}
