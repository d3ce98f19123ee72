package agent

import (
	"encoding/json"
	"fmt"
	"strings"
)

// maxDescription bounds what a description quotes.
const maxDescription = 200

// Describe tells people in a line what an event of type progress says, of those kinds
// whose content has no text of its own; "" of others.
func Describe(content map[string]any) string {
	var c struct {
		Kind, Session, Command, Status, Server, Tool, Query, Reason, Error string
		ExitCode                                                           *int
		Seconds                                                            float64
		Failed                                                             bool
		Changes                                                            []struct{ Path, Kind string }
		Items                                                              []struct{ Completed bool }
	}
	encoded, err := json.Marshal(content)
	if err != nil || json.Unmarshal(encoded, &c) != nil {
		return ""
	}
	switch c.Kind {
	case "session":
		return "session " + c.Session
	case "command":
		if c.ExitCode == nil {
			return short(c.Command) + ": " + c.Status
		}
		return fmt.Sprintf("%s: exit code %d", short(c.Command), *c.ExitCode)
	case "fileChange":
		var parts []string
		for _, change := range c.Changes {
			parts = append(parts, change.Kind+" "+change.Path)
		}
		return short(strings.Join(parts, ", "))
	case "tool":
		return strings.TrimRight(strings.TrimPrefix(c.Server+" "+c.Tool, " ")+": "+c.Status+": "+short(c.Error), ": ")
	case "search":
		return "searched the web: " + short(c.Query)
	case "plan":
		done := 0
		for _, item := range c.Items {
			if item.Completed {
				done++
			}
		}
		return fmt.Sprintf("plan: %d of %d steps are done", done, len(c.Items))
	case "waiting":
		return fmt.Sprintf("waits %.0f s for another try: %s", c.Seconds, short(c.Reason))
	}
	return ""
}

// short is the beginning of a text as one line.
func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= maxDescription {
		return text
	}
	return strings.ToValidUTF8(text[:maxDescription], "") + "…"
}
