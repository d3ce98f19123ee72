package memory

import (
	"encoding/json"
	"strings"
)

// spoken are the fields of an event's content that speak to a reader.
var spoken = []string{"summary", "message", "reason", "error", "lesson"}

// ContentText is what an event's content says in words: a text as it is; of an
// object what its summary, message, reason, error and lesson say. An object
// with none of these says nothing: figures teach no later task.
func ContentText(content json.RawMessage) string {
	var text string
	if json.Unmarshal(content, &text) == nil {
		return strings.TrimSpace(text)
	}
	var object map[string]any
	if json.Unmarshal(content, &object) != nil {
		return ""
	}
	var parts []string
	for _, field := range spoken {
		if text, ok := object[field].(string); ok && strings.TrimSpace(text) != "" {
			parts = append(parts, strings.TrimSpace(text))
		}
	}
	return strings.Join(parts, "\n")
}
