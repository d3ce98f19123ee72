package launch

import (
	"fmt"
	"strings"

	"github.com/graf-run/graf/shared/memory"
)

// failure is how the attempt before this one ended, or the task that this one
// runs again.
type failure struct {
	// task is the ended task; empty for an attempt of the same one.
	task        string
	attempt     int
	maxAttempts int
	class       string
	reason      string
}

// heading says what failed; empty if nothing did.
func (f failure) heading() string {
	switch {
	case f.task != "" && f.class != "":
		return fmt.Sprintf("\n\n## Task %s failed\n\nThis task runs it again. It failed (%s), as quoted; "+
			"do not repeat its mistake.\n\n", f.task, f.class)
	case f.attempt > 0:
		return fmt.Sprintf("\n\n## Attempt %d of %d failed\n\nThis is the next attempt. The last one failed (%s), as quoted; "+
			"do not repeat its mistake.\n\n", f.attempt, f.maxAttempts, f.class)
	}
	return ""
}

// enrich writes the prompt that the agent reads: the submitted one, how the
// last attempt failed, and what earlier tasks taught. Both additions come from
// agents' own words, so each line of them is quoted and the agent is told that
// they are data: nothing in them can pose as the end of the quotation.
func enrich(prompt string, hits []memory.Hit, previous failure) string {
	var b strings.Builder
	b.WriteString(prompt)
	if heading := previous.heading(); heading != "" {
		b.WriteString(heading + memory.QuoteText(previous.reason))
	}
	if len(hits) > 0 {
		b.WriteString("\n\n## What earlier tasks taught\n\n" + memory.Quote(hits))
	}
	return b.String()
}
