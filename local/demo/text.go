package demo

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/graf-run/graf/shared/api"
)

// said is what an agent said with an event: its text, or the values of an object.
func said(event api.TaskEvent) string {
	var text string
	if json.Unmarshal(event.Content, &text) == nil {
		return text
	}
	var object struct{ Message, Summary, Lesson, Text string }
	if json.Unmarshal(event.Content, &object) != nil {
		return string(event.Content)
	}
	text = cmp.Or(object.Message, object.Summary, clip(object.Text))
	if object.Lesson != "" {
		text += "\nLesson: " + object.Lesson
	}
	return text
}

// eventText tells an event to people.
func eventText(event api.TaskEvent) string {
	switch {
	case len(event.Artifacts) > 0:
		var parts []string
		for _, a := range event.Artifacts {
			parts = append(parts, fmt.Sprintf("%s, %d bytes, sha256 %s…", a.Name, a.SizeBytes, a.Sha256[:min(12, len(a.Sha256))]))
		}
		return strings.Join(parts, "; ")
	case event.Snapshot != nil:
		return fmt.Sprintf("the resources %s the run: %d", event.Snapshot.Type, len(event.Snapshot.Manifests))
	case event.EventType == api.EventTypeUsage:
		var used struct{ InputTokens, CachedInputTokens, OutputTokens int64 }
		if json.Unmarshal(event.Content, &used) != nil {
			return string(event.Content)
		}
		return fmt.Sprintf("%d input tokens, %d of them cached, %d output tokens", used.InputTokens, used.CachedInputTokens, used.OutputTokens)
	default:
		return said(event)
	}
}

// gist is the part of a memory that tells most in little room: of an outcome
// what was changed and the last line, which is the lesson if there is one; of a
// change its summary; else the beginning.
func gist(memory api.RecalledMemory) string {
	text := strings.TrimSpace(memory.Snippet)
	for _, mark := range []string{"\nChanged: ", "\nWhy: "} {
		if _, after, ok := strings.Cut(text, mark); ok {
			change, _, _ := strings.Cut(after, "\n")
			lesson := after[strings.LastIndexByte(after, '\n')+1:]
			if lesson == change {
				return clip(change)
			}
			return clip(change) + "\n" + clip(lesson)
		}
	}
	paragraph, _, _ := strings.Cut(text, "\n\n")
	return clip(strings.Join(strings.Fields(paragraph), " "))
}

// maxGist is about two lines, in bytes.
const maxGist = 155

// clip cuts text to maxGist, at a space.
func clip(text string) string {
	if len(text) <= maxGist {
		return text
	}
	cut := strings.ToValidUTF8(text[:maxGist], "")
	if at := strings.LastIndexByte(cut, ' '); at > 0 {
		cut = cut[:at]
	}
	return cut + " …"
}

// wrap breaks text into lines of at most width characters, at spaces, and keeps
// the line ends that it has.
func wrap(text string, width int) []string {
	var lines []string
	for paragraph := range strings.Lines(text) {
		line, length := "", 0
		for word := range strings.FieldsSeq(paragraph) {
			size := len([]rune(word))
			if length > 0 && length+1+size > width {
				lines = append(lines, line)
				line, length = "", 0
			}
			if length > 0 {
				line += " "
				length++
			}
			line += word
			length += size
		}
		if length > 0 {
			lines = append(lines, line)
		}
	}
	return lines
}
