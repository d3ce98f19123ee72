package main

import (
	"regexp"
	"strconv"
	"strings"
)

// Graf adds to the prompt how the last attempt failed and what earlier tasks
// taught, each under a heading, and quotes every line of both.
var (
	failedHeading = regexp.MustCompile(`^## Attempt (\d+) of (\d+) failed$`)
	memoryHeading = regexp.MustCompile(`^### Memory \d+: (\S+) of task \S+ \(score ([0-9.]+), memory (\S+)\)$`)
)

const taughtHeading = "## What earlier tasks taught"

// prompt is what an agent can read out of its prompt.
type prompt struct {
	failedAttempt string // "1 of 2"; empty on the first attempt
	failure       string // its reason
	memories      []recalled
}

// recalled is a text of an earlier task.
type recalled struct {
	id, kind string
	score    float64
	text     string
	// from says how it came here: "prompt" or "memory endpoint".
	from string
}

func parsePrompt(text string) prompt {
	var p prompt
	var quote *string // what the quoted lines are part of
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		quoted, isQuote := strings.CutPrefix(line, "> ")
		if line == ">" {
			quoted, isQuote = "", true
		}
		switch {
		case isQuote && quote != nil:
			*quote += quoted + "\n"
		case isQuote:
		case line == taughtHeading:
			quote = nil
		default:
			if m := failedHeading.FindStringSubmatch(line); m != nil {
				p.failedAttempt, quote = m[1]+" of "+m[2], &p.failure
			}
			if m := memoryHeading.FindStringSubmatch(line); m != nil {
				score, _ := strconv.ParseFloat(m[2], 64) // the expression lets only numbers pass
				p.memories = append(p.memories, recalled{id: m[3], kind: m[1], score: score, from: "prompt"})
				quote = &p.memories[len(p.memories)-1].text
			}
		}
	}
	p.failure = strings.TrimSpace(p.failure)
	return p
}

// failedLimit finds tooSmall's words in how the last attempt failed.
var failedLimit = regexp.MustCompile(`container (\S+): limits\.(\S+) (\S+) is below requests\.(\S+) (\S+)`)

func (p prompt) tooSmall() *tooSmall {
	m := failedLimit.FindStringSubmatch(p.failure)
	if m == nil || m[2] != m[4] {
		return nil
	}
	return &tooSmall{container: m[1], resource: m[2], limit: m[3], request: m[5]}
}
