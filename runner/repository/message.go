package repository

import (
	"strings"
	"unicode"
)

const (
	maxSubject = 72
	maxBody    = 4 << 10
)

// Message is the text of a commit: the agent's summary, with the task as a trailer.
// It is data: whatever the summary says, the trailers' block is the runner's.
func Message(summary, taskID string) string {
	subject, rest := split(summary)
	if subject == "" {
		subject = "Changes of task " + taskID
	}
	text := subject + "\n\n"
	if rest != "" {
		text += rest + "\n\n"
	}
	return text + "Graf-Task: " + taskID + "\n"
}

// Title is a pull request's.
func Title(summary, taskID string) string {
	subject, _ := split(summary)
	if subject == "" {
		return "Graf: changes of task " + taskID
	}
	return subject
}

// Body is a pull request's. The agent's summary stands in it as it is, in a block of
// code: in one, forges mention nobody, close no issue and show no picture.
func Body(summary, taskID string) string {
	text := "Made by an agent for the Graf task `" + taskID + "`.\n"
	if summary = clean(summary); summary == "" {
		return text
	}
	text += "\nIts own account:\n\n"
	for line := range strings.Lines(clip(summary, maxBody)) {
		text += "    " + strings.TrimRight(line, "\n") + "\n"
	}
	return text
}

// split is the first line of a summary, as a subject, and all of it where that does
// not say everything.
func split(summary string) (subject, rest string) {
	summary = clean(summary)
	first, more, _ := strings.Cut(summary, "\n")
	subject = strings.TrimLeft(strings.TrimSpace(first), "# ")
	if letters := []rune(subject); len(letters) > maxSubject {
		return string(letters[:maxSubject-1]) + "…", clip(summary, maxBody)
	}
	return subject, clip(strings.TrimSpace(more), maxBody)
}

// clean is a text without control characters but ends of lines and tabs.
func clean(text string) string {
	return strings.TrimSpace(strings.Map(func(letter rune) rune {
		if letter != '\n' && letter != '\t' && (unicode.IsControl(letter) || unicode.Is(unicode.Cf, letter)) {
			return -1
		}
		return letter
	}, strings.ToValidUTF8(text, "")))
}
