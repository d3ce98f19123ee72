package launch

import (
	"fmt"
	"strings"

	"github.com/graf-run/graf/shared/memory"
)

// failure is how the attempt before this one ended.
type failure struct {
	attempt     int
	maxAttempts int
	class       string
	reason      string
}

// enrich writes the prompt that the agent reads: the submitted one, how the
// last attempt failed, and what earlier tasks taught. Both additions come from
// agents' own words, so each line of them is quoted and the agent is told that
// they are data: nothing in them can pose as the end of the quotation.
func enrich(prompt string, hits []memory.Hit, previous failure) string {
	var b strings.Builder
	b.WriteString(prompt)
	if previous.attempt > 0 {
		fmt.Fprintf(&b, "\n\n## Attempt %d of %d failed\n\n", previous.attempt, previous.maxAttempts)
		fmt.Fprintf(&b, "This is the next attempt. The last one failed (%s), as quoted; do not repeat its mistake.\n\n",
			previous.class)
		b.WriteString(memory.QuoteText(previous.reason))
	}
	if len(hits) > 0 {
		b.WriteString("\n\n## What earlier tasks taught\n\n" + memory.Quote(hits))
	}
	return b.String()
}
