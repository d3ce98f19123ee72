package agent

import (
	"encoding/json"
	"fmt"
	"strings"
)

// claude is Anthropic's Claude Code. Its events are those of
// claude --print --output-format stream-json: see its documentation, "Run Claude Code
// programmatically" and the message types of the "Agent SDK reference".
type claude struct {
	// model is the one that the session began with: its end does not name it.
	model string
	// counted are the usages of messages by their ids: each is told with every block of
	// its message, and grows. all is their sum.
	counted map[string]Usage
	all     Usage
}

// Start implements Agent.
func (c *claude) Start(task Task) Invocation {
	c.model, c.counted, c.all = task.Model, map[string]Usage{}, Usage{}
	args := []string{
		"claude", "--print", "--output-format", "stream-json", "--verbose",
		// The container is the sandbox, and nobody is there to be asked.
		"--dangerously-skip-permissions",
	}
	if task.Session != "" {
		args = append(args, "--resume", task.Session)
	}
	if task.Model != "" {
		args = append(args, "--model", task.Model)
	}
	if task.MCP != "" {
		// The variable is put in by claude itself, so that no argument has the token.
		servers, err := json.Marshal(map[string]any{"mcpServers": map[string]any{"graf": map[string]any{
			"type": "http", "url": task.MCP, "headers": map[string]string{"Authorization": "Bearer ${GRAF_CALLBACK_TOKEN}"},
		}}})
		if err != nil {
			panic(err) // it is made of texts
		}
		args = append(args, "--mcp-config", string(servers))
	}
	return Invocation{Args: append(args, task.Arguments...), Input: task.Prompt}
}

type claudeEvent struct {
	Type      string `json:"type"`
	Subtype   string `json:"subtype"`
	SessionID string `json:"session_id"`
	Model     string `json:"model"`
	IsError   bool   `json:"is_error"`
	Result    string `json:"result"`
	// Errors are told in place of a result.
	Errors  []string    `json:"errors"`
	Cost    float64     `json:"total_cost_usd"`
	Usage   claudeUsage `json:"usage"`
	Message struct {
		ID      string          `json:"id"`
		Model   string          `json:"model"`
		Usage   claudeUsage     `json:"usage"`
		Content json.RawMessage `json:"content"`
	} `json:"message"`
}

type claudeUsage struct {
	Input       int64 `json:"input_tokens"`
	CacheRead   int64 `json:"cache_read_input_tokens"`
	CacheCreate int64 `json:"cache_creation_input_tokens"`
	Output      int64 `json:"output_tokens"`
}

func (u claudeUsage) usage(model string, cost float64) Usage {
	return Usage{
		Model: model, Input: u.Input + u.CacheRead + u.CacheCreate, Cached: u.CacheRead, Output: u.Output, USD: cost,
	}.bounded()
}

type claudeBlock struct {
	Type    string          `json:"type"`
	Text    string          `json:"text"`
	Name    string          `json:"name"`
	Input   json.RawMessage `json:"input"`
	Content json.RawMessage `json:"content"`
	IsError bool            `json:"is_error"`
}

// Read implements Agent.
func (c *claude) Read(line string) []Report {
	var e claudeEvent
	if reports := decode(line, &e); reports != nil {
		return reports
	}
	switch e.Type {
	case "system":
		if e.Subtype != "init" {
			return nil
		}
		c.model = e.Model
		return []Report{{
			Type: Progress, Content: map[string]any{"kind": "session", "session": e.SessionID, "model": e.Model}, Session: e.SessionID,
		}}
	case "assistant":
		return append(readBlocks(e.Message.Content), c.count(e)...)
	case "user":
		return readBlocks(e.Message.Content)
	case "result":
		return e.end(e.Usage.usage(c.model, e.Cost).without(c.all))
	}
	return nil
}

// count tells what a message used that was not told before.
func (c *claude) count(e claudeEvent) []Report {
	if e.Message.ID == "" {
		return nil
	}
	if c.counted == nil {
		c.counted = map[string]Usage{}
	}
	model := e.Message.Model
	if model == "" {
		model = c.model
	}
	more := e.Message.Usage.usage(model, 0).without(c.counted[e.Message.ID])
	if more.Tokens() == 0 {
		return nil
	}
	c.counted[e.Message.ID] = c.counted[e.Message.ID].Add(more)
	c.all = c.all.Add(more)
	more.Part = true
	return []Report{{Usage: &more}}
}

func readBlocks(content json.RawMessage) []Report {
	var blocks []claudeBlock
	if err := json.Unmarshal(content, &blocks); err != nil {
		return nil // a text: what the user said, which is the prompt
	}
	var reports []Report
	for _, block := range blocks {
		content := map[string]any{"kind": block.Type}
		report := Report{Type: Progress, Content: content}
		switch block.Type {
		case "text":
			content["kind"], content["text"], report.Summary = "message", clip(block.Text), clip(block.Text)
		case "tool_use":
			content["kind"], content["tool"], content["input"] = "tool", block.Name, clip(string(block.Input))
		case "tool_result":
			content["kind"], content["output"], content["failed"] = "toolResult", clip(string(block.Content)), block.IsError
		default:
			continue
		}
		reports = append(reports, report)
	}
	return reports
}

// end tells how it ended, and what was used that no message has told.
func (e claudeEvent) end(usage Usage) []Report {
	report := Report{Session: e.SessionID, Usage: &usage}
	if !e.IsError && e.Subtype == "success" {
		report.Summary = clip(e.Result)
		return []Report{report}
	}
	said := append([]string{e.Result}, e.Errors...)
	reason := strings.TrimSpace(strings.Join(said, "\n"))
	if reason == "" {
		reason = fmt.Sprintf("it ended with %s", e.Subtype)
	}
	report.Failure = classify(reason)
	if e.Subtype == "error_max_budget_usd" {
		report.Failure.Class = ClassBudget
	}
	return []Report{report}
}
