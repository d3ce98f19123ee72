package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// claude is Anthropic's Claude Code. Its events are those of
// claude --print --output-format stream-json: see its documentation, "Run Claude Code
// programmatically" and the message types of the "Agent SDK reference", and what was
// recorded of it in testdata/claude.
type claude struct {
	// mu guards all of it: the output and the session's file are read at the same time.
	mu sync.Mutex
	// model and session are those that it began with: its end does not name the model.
	model, session string
	// counted are the usages of messages by their ids since the last result, all is
	// their sum. The output tells of a message what was known when it began; filed are
	// the usages by the session's file, which has it when it is complete.
	counted, filed map[string]Usage
	all            Usage
	// refusal is the kind of error that it ended with, as it told it; wait is the last
	// one that it announced before another request, 0 once the model has answered.
	refusal string
	wait    time.Duration
}

// Start implements Agent.
func (c *claude) Start(task Task) Invocation {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.model, c.session, c.refusal, c.wait = task.Model, "", "", 0
	c.settle()
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
	Type       string `json:"type"`
	Subtype    string `json:"subtype"`
	SessionID  string `json:"session_id"`
	Model      string `json:"model"`
	MCPServers []struct {
		Name   string `json:"name"`
		Status string `json:"status"`
	} `json:"mcp_servers"`
	// Parent is the call of the tool that a subagent works for.
	Parent  string        `json:"parent_tool_use_id"`
	Message claudeMessage `json:"message"`
	// Error is a word; not every event with this name has one.
	Error json.RawMessage `json:"error"`
	// The next four are of a wait before another request to the model.
	Attempt     int     `json:"attempt"`
	MaxRetries  int     `json:"max_retries"`
	RetryDelay  float64 `json:"retry_delay_ms"`
	RetryStatus int     `json:"error_status"`
	// The rest is of a result. Errors are told in place of Result.
	IsError bool     `json:"is_error"`
	Status  int      `json:"api_error_status"`
	Result  string   `json:"result"`
	Errors  []string `json:"errors"`
	// Usage is without subagents, Cost that of the session from its beginning; Since
	// is all since the last result, by models. Older versions do not tell it.
	Usage claudeUsage            `json:"usage"`
	Cost  float64                `json:"total_cost_usd"`
	Since map[string]claudeModel `json:"model_usage_since_last_result"`
}

type claudeMessage struct {
	ID      string          `json:"id"`
	Model   string          `json:"model"`
	Usage   claudeUsage     `json:"usage"`
	Content json.RawMessage `json:"content"`
}

type claudeUsage struct {
	Input       int64 `json:"input_tokens"`
	CacheRead   int64 `json:"cache_read_input_tokens"`
	CacheCreate int64 `json:"cache_creation_input_tokens"`
	Output      int64 `json:"output_tokens"`
	Details     struct {
		Thinking int64 `json:"thinking_tokens"`
	} `json:"output_tokens_details"`
}

func (u claudeUsage) usage(model string, cost float64) Usage {
	return Usage{
		Model: model, Input: u.Input + u.CacheRead + u.CacheCreate, Cached: u.CacheRead, Output: u.Output,
		Reasoning: u.Details.Thinking, USD: cost,
	}.bounded()
}

// claudeModel is what one model was used.
type claudeModel struct {
	Input       int64   `json:"inputTokens"`
	CacheRead   int64   `json:"cacheReadInputTokens"`
	CacheCreate int64   `json:"cacheCreationInputTokens"`
	Output      int64   `json:"outputTokens"`
	Thinking    int64   `json:"thinkingTokens"`
	Cost        float64 `json:"costUSD"`
}

type claudeBlock struct {
	Type    string          `json:"type"`
	Text    string          `json:"text"`
	Name    string          `json:"name"`
	Input   json.RawMessage `json:"input"`
	Content json.RawMessage `json:"content"`
	IsError bool            `json:"is_error"`
}

// syntheticModel is the one that claude names for what it says itself.
const syntheticModel = "<synthetic>"

// Read implements Agent.
func (c *claude) Read(line string) []Report {
	var e claudeEvent
	if reports := decode(line, &e); reports != nil {
		return reports
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.Type {
	case "system":
		return c.readSystem(e)
	case "assistant":
		return c.readMessage(e)
	case "user":
		return readBlocks(e.Message.Content, "tool_result") // texts are the prompt, and claude's own
	case "result":
		return c.end(e)
	}
	return nil
}

// readSystem tells of the session's beginning, and of waits.
func (c *claude) readSystem(e claudeEvent) []Report {
	switch e.Subtype {
	case "init":
		return c.begin(e)
	case "api_retry":
		wait := min(max(e.RetryDelay, 0), float64(maxWait.Milliseconds()))
		c.wait = time.Duration(wait * float64(time.Millisecond))
		reason := fmt.Sprintf("%s, retry %d of %d", word(e.Error), e.Attempt, e.MaxRetries)
		if e.RetryStatus != 0 {
			reason = fmt.Sprintf("%d %s", e.RetryStatus, reason)
		}
		content := map[string]any{"kind": "waiting", "seconds": c.wait.Seconds(), "reason": clip(reason)}
		if class := classOf(e.RetryStatus, word(e.Error)); class != "" {
			content["class"] = class
		}
		return []Report{{Type: Progress, Content: content}}
	}
	return nil
}

// begin tells the session once, although each of its turns begins so, and which of its
// MCP servers it goes on without.
func (c *claude) begin(e claudeEvent) []Report {
	c.model = e.Model
	if e.SessionID == c.session {
		return nil
	}
	c.session = e.SessionID
	reports := []Report{{
		Type: Progress, Content: map[string]any{"kind": "session", "session": e.SessionID, "model": e.Model}, Session: e.SessionID,
	}}
	for _, server := range e.MCPServers {
		if server.Status == "failed" || server.Status == "needs-auth" {
			text := clip(fmt.Sprintf("the MCP server %s is not connected: %s", server.Name, server.Status))
			reports = append(reports, Report{Type: Log, Content: map[string]any{"text": text}})
		}
	}
	return reports
}

// readMessage tells what the model said and called.
func (c *claude) readMessage(e claudeEvent) []Report {
	reports := readBlocks(e.Message.Content, "text", "tool_use")
	if e.Message.Model == syntheticModel {
		c.refusal = word(e.Error)
		for i := range reports { // no words of the model's: a failure, which the result tells
			reports[i] = Report{Type: Log, Content: map[string]any{"text": reports[i].Content["text"]}}
		}
		return reports
	}
	c.refusal, c.wait = "", 0
	for i := range reports {
		if e.Parent != "" {
			reports[i].Summary = "" // a subagent's, which the task's own speaks about
		}
	}
	reports = append(reports, c.count(e.Message)...)
	if filed, known := c.filed[e.Message.ID]; known {
		reports = append(reports, c.add(e.Message.ID, filed)...)
	}
	return reports
}

// count tells what a message used that was not told before.
func (c *claude) count(message claudeMessage) []Report {
	model := message.Model
	if model == "" {
		model = c.model
	}
	return c.add(message.ID, message.Usage.usage(model, 0))
}

func (c *claude) add(id string, used Usage) []Report {
	more := used.without(c.counted[id])
	if id == "" || more.Tokens() == 0 {
		return nil
	}
	if c.counted == nil {
		c.settle()
	}
	c.counted[id] = c.counted[id].Add(more)
	c.all = c.all.Add(more)
	more.Part = true
	return []Report{{Usage: &more}}
}

// settle forgets what was counted, for a result has told all of it.
func (c *claude) settle() {
	c.counted, c.all = map[string]Usage{}, Usage{}
}

// SessionFile is projects/FOLDER/ID.jsonl in CLAUDE_CONFIG_DIR.
func (c *claude) SessionFile(environment func(name string) string, session string) string {
	home := environment("CLAUDE_CONFIG_DIR")
	if home == "" {
		home = filepath.Join(environment("HOME"), ".claude")
	}
	return findSession(session, filepath.Join(home, "projects", "*"), "")
}

// ReadSession counts the tokens of each message when it is complete. Of a session that
// is gone on with, the file has messages of before: those that the output does not
// tell count for nothing.
func (c *claude) ReadSession(line string) []Report {
	var e struct {
		Type    string        `json:"type"`
		Message claudeMessage `json:"message"`
	}
	if !strings.Contains(line, `"usage"`) || json.Unmarshal([]byte(line), &e) != nil || e.Type != "assistant" || e.Message.ID == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, told := c.counted[e.Message.ID]; told {
		return c.count(e.Message)
	}
	if c.filed == nil {
		c.filed = map[string]Usage{}
	}
	c.filed[e.Message.ID] = e.Message.Usage.usage(e.Message.Model, 0)
	return nil
}

// readBlocks tells of the blocks of a message that are of certain types.
func readBlocks(content json.RawMessage, types ...string) []Report {
	var blocks []claudeBlock
	if err := json.Unmarshal(content, &blocks); err != nil {
		return nil // a text: what the user said, which is the prompt
	}
	var reports []Report
	for _, block := range blocks {
		if slices.Contains(types, block.Type) {
			reports = append(reports, block.read())
		}
	}
	return reports
}

// read tells of a block whose type is text, tool_use or tool_result.
func (b claudeBlock) read() Report {
	switch b.Type {
	case "text":
		return Report{Type: Progress, Summary: clip(b.Text), Content: map[string]any{"kind": "message", "text": clip(b.Text)}}
	case "tool_use":
		content := map[string]any{"kind": "tool", "tool": b.Name, "input": clip(string(b.Input))}
		// mcp__SERVER__TOOL is one of an MCP server.
		name, isMCP := strings.CutPrefix(b.Name, "mcp__")
		if server, tool, both := strings.Cut(name, "__"); isMCP && both {
			content["server"], content["tool"] = server, tool
		}
		return Report{Type: Progress, Content: content}
	default:
		return Report{Type: Progress, Content: map[string]any{"kind": "toolResult", "output": clip(textOf(b.Content)), "failed": b.IsError}}
	}
}

// textOf is what a tool answered: a text, or parts of which some are texts.
func textOf(content json.RawMessage) string {
	var text string
	if json.Unmarshal(content, &text) == nil {
		return text
	}
	var parts []claudeBlock
	if json.Unmarshal(content, &parts) != nil {
		return string(content)
	}
	texts := make([]string, len(parts))
	for i, part := range parts {
		if texts[i] = part.Text; part.Type != "text" {
			texts[i] = "(" + part.Type + ")"
		}
	}
	return strings.Join(texts, "\n")
}

// word is a JSON string, or "".
func word(text json.RawMessage) string {
	var word string
	if json.Unmarshal(text, &word) != nil {
		return ""
	}
	return word
}

// end tells how it ended, and what was used that no message has told.
func (c *claude) end(e claudeEvent) []Report {
	usage := e.used(c.model).without(c.all)
	c.settle()
	report := Report{Session: e.SessionID, Usage: &usage}
	if !e.IsError && e.Subtype == "success" {
		report.Summary = clip(e.Result)
	} else {
		report.Failure = c.failure(e)
	}
	return []Report{report}
}

// used is all that was used since the last result.
func (e claudeEvent) used(model string) Usage {
	if e.Since == nil {
		return e.Usage.usage(model, e.Cost)
	}
	var sum Usage
	for _, m := range e.Since {
		one := claudeUsage{Input: m.Input, CacheRead: m.CacheRead, CacheCreate: m.CacheCreate, Output: m.Output}
		one.Details.Thinking = m.Thinking
		sum = sum.Add(one.usage(model, m.Cost))
	}
	sum.Model = model
	return sum.bounded()
}

// failure tells why it failed: by what it says of the model's answer, or by its words.
func (c *claude) failure(e claudeEvent) *Failure {
	reason := strings.TrimSpace(strings.Join(append([]string{e.Result}, e.Errors...), "\n"))
	if reason == "" {
		reason = "it ended with " + e.Subtype
	}
	failure := classify(reason)
	if class := classOf(e.Status, c.refusal); class != "" {
		failure.Class = class
	}
	switch failure.Class {
	case ClassQuota, ClassInfrastructure:
		failure.RetryAfter = max(failure.RetryAfter, c.wait)
	default:
		failure.RetryAfter = 0
	}
	if e.Subtype == "error_max_budget_usd" {
		failure.Class = ClassBudget
	}
	return failure
}

// statusOverloaded is one of Anthropic's own.
const statusOverloaded = 529

// classOf is the class of an error by the API's status, 0 for none, and by claude's word
// for its kind; "" if neither says.
func classOf(status int, kind string) Class {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ClassAuthentication
	case status == http.StatusTooManyRequests, status == statusOverloaded:
		return ClassQuota
	case status >= http.StatusInternalServerError:
		return ClassInfrastructure
	}
	switch kind {
	case "authentication_failed":
		return ClassAuthentication
	case "rate_limit", "overloaded", "billing_error":
		return ClassQuota
	case "server_error":
		return ClassInfrastructure
	case "invalid_request", "model_not_found", "max_output_tokens":
		return ClassAgent
	}
	return ""
}
