// Package agent knows the programs that do tasks: how each is started, and what
// its output means. Adding one is one file and one line here.
package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Agent is a kind of program. One value serves one task, whose session it may go on
// with. Read and ReadSession may be called at the same time.
type Agent interface {
	// Start gives the program's arguments.
	Start(task Task) Invocation
	// Read tells what a line of the program's standard output means: nothing, or
	// one thing or several.
	Read(line string) []Report
}

// SessionKeeper is an agent that tells what it uses in a file of its session, sooner
// than in its output: a budget needs it while the agent works.
type SessionKeeper interface {
	// SessionFile finds the file of a session; "" as long as there is none.
	SessionFile(environment func(name string) string, session string) string
	// ReadSession tells what a line of it means.
	ReadSession(line string) []Report
}

// findSession finds the file of a session in folders that match a pattern: its name is
// the prefix, a pattern as well, and the session's id. "" is none.
func findSession(session, folders, prefix string) string {
	if session == "" || strings.ContainsAny(session, "*?[/\\") {
		return "" // no id
	}
	files, err := filepath.Glob(filepath.Join(folders, prefix+session+".jsonl"))
	if err != nil || len(files) == 0 {
		return ""
	}
	return files[len(files)-1]
}

// Task is what an agent is to do.
type Task struct {
	Prompt string
	// Arguments are what the task's author adds; of command they are all there is.
	Arguments []string
	// Model is the language model; "" is the agent's own choice.
	Model string
	// Environment looks a variable up that the program is given; "" if it is not set.
	Environment func(name string) string
	// Session is the one to go on with, "" for a new one.
	Session string
	// MCP is the URL of the task's MCP server, "" for none. Its token is in the
	// variable GRAF_CALLBACK_TOKEN.
	MCP string
}

// Invocation is how an agent is started.
type Invocation struct {
	Args []string
	// Input is its standard input.
	Input string
	// Env are variables besides those that it is given, NAME=value.
	Env []string
}

// Report is something that an agent said. Of its fields those are set that it is
// about.
type Report struct {
	// Type and Content are the event that tells it, if one does.
	Type    string
	Content map[string]any
	// Session is the id to go on with later.
	Session string
	// Summary is what the agent said last, to people.
	Summary string
	Usage   *Usage
	Failure *Failure
}

// Types of events.
const (
	Progress = "progress"
	Log      = "log"
)

// Usage counts tokens. Input includes the cached ones, Output those of reasoning.
type Usage struct {
	Model     string `json:"model,omitempty"`
	Input     int64  `json:"inputTokens"`
	Cached    int64  `json:"cachedInputTokens"`
	Output    int64  `json:"outputTokens"`
	Reasoning int64  `json:"reasoningTokens"`
	// USD is what it cost, if the agent or a price list says so.
	USD float64 `json:"usd,omitempty"`
	// Part says that the agent tells at its end, in the usage that is no part, what all
	// of it cost, this included.
	Part bool `json:"-"`
}

// maxFigure is the most tokens that Graf takes at once.
const maxFigure = 1e12

// bounded is the usage within what Graf takes, whatever an agent wrote.
func (u Usage) bounded() Usage {
	for _, figure := range []*int64{&u.Input, &u.Cached, &u.Output, &u.Reasoning} {
		*figure = min(max(*figure, 0), maxFigure)
	}
	u.USD = min(max(u.USD, 0), 1e6)
	return u
}

// Tokens are all that count against a budget.
func (u Usage) Tokens() int64 { return u.Input + u.Output }

// Add is the sum of two.
func (u Usage) Add(other Usage) Usage {
	if other.Model != "" {
		u.Model = other.Model
	}
	u.Input += other.Input
	u.Cached += other.Cached
	u.Output += other.Output
	u.Reasoning += other.Reasoning
	u.USD += other.USD
	return u
}

// without is what of the usage is not in another; its cost stays.
func (u Usage) without(other Usage) Usage {
	u.Input = max(u.Input-other.Input, 0)
	u.Cached = min(max(u.Cached-other.Cached, 0), u.Input)
	u.Output = max(u.Output-other.Output, 0)
	u.Reasoning = max(u.Reasoning-other.Reasoning, 0)
	return u
}

// Class is why a run failed, as the API's FailureClass.
type Class string

// Classes of failure.
const (
	ClassAgent          Class = "agent"
	ClassQuota          Class = "quota"
	ClassAuthentication Class = "authentication"
	ClassInfrastructure Class = "infrastructure"
	ClassBudget         Class = "budget"
	ClassTimeout        Class = "timeout"
	ClassCancelled      Class = "cancelled"
)

// Failure is why a run failed.
type Failure struct {
	Class  Class
	Reason string
	// RetryAfter is the wait that the provider asked for, 0 if it did not.
	RetryAfter time.Duration
}

// kinds are the agents by name.
var kinds = map[string]func() Agent{
	"command": func() Agent { return command{} },
	"codex":   func() Agent { return &codex{} },
	"claude":  func() Agent { return &claude{} },
}

// Kinds lists the names that New knows.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// New makes an agent of a kind.
func New(kind string) (Agent, error) {
	create, known := kinds[kind]
	if !known {
		return nil, fmt.Errorf("there is no agent %q: use %s", kind, strings.Join(Kinds(), ", "))
	}
	return create(), nil
}

// decode reads a line of JSON. What is none is for the log.
func decode(line string, into any) []Report {
	if strings.TrimSpace(line) == "" {
		return []Report{}
	}
	if err := json.Unmarshal([]byte(line), into); err != nil {
		return []Report{{Type: Log, Content: map[string]any{"text": clip(line)}}}
	}
	return nil
}

// maxText is how much of a text an event tells.
const maxText = 16 << 10

// clip is the beginning and the end of a text that is too long.
func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	head := strings.ToValidUTF8(text[:maxText/2], "")
	tail := strings.ToValidUTF8(text[len(text)-maxText/2:], "")
	return fmt.Sprintf("%s\n… %d bytes left out …\n%s", head, len(text)-len(head)-len(tail), tail)
}
