package demo

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/graf-run/graf/shared/api"
)

// Widths of what is printed, in characters.
const (
	lineWidth = 110
	textAt    = 24 // where the text of a stage begins
	diffAt    = 12
)

// style is a sequence of ANSI SGR parameters (ECMA-48, section 8.3.117).
type style string

const (
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// styles are those of the stages that stand out.
var styles = map[string]style{"recalled": yellow, "failed": red, "launched": cyan, "remembered": cyan, "queued": cyan, "retry": yellow}

// printer writes lines for people. What cannot be written is lost: the result
// is told by other means.
type printer struct {
	out    io.Writer
	colour bool
}

func newPrinter(out io.Writer, colour bool) *printer { return &printer{out: out, colour: colour} }

func (p *printer) paint(s style, text string) string {
	if !p.colour || s == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (p *printer) line(format string, arguments ...any) {
	_, _ = fmt.Fprintf(p.out, format+"\n", arguments...)
}

func (p *printer) title(number int, title string, target api.ResourceReference) {
	p.line("\n%s", p.paint(bold, fmt.Sprintf("Task %d: %s", number, title)))
	p.line("  %s %s/%s", target.Kind, target.Namespace, target.Name)
}

func (p *printer) prompt(prompt string) {
	for _, line := range wrap("“"+prompt+"”", lineWidth-2) {
		p.line("  %s", p.paint(dim, line))
	}
	p.line("")
}

// stage prints one thing that happened, this long after the submission.
func (p *printer) stage(at time.Duration, name, text string) {
	p.styled(at, name, text, styles[name])
}

func (p *printer) styled(at time.Duration, name, text string, s style) {
	lines := wrap(text, lineWidth-textAt)
	first := ""
	if len(lines) > 0 {
		first, lines = lines[0], lines[1:]
	}
	p.line("%s  %s %s", p.paint(dim, fmt.Sprintf("%7d ms", at.Milliseconds())), p.paint(s, fmt.Sprintf("%-11s", name)), first)
	for _, line := range lines {
		p.line("%*s%s", textAt, "", line)
	}
}

func (p *printer) end(at time.Duration, status, text string, succeeded bool) {
	s := red
	if succeeded {
		s = green
	}
	p.styled(at, status, text, s)
}

// recall prints the memories that a prompt was given, with their scores.
func (p *printer) recall(at time.Duration, how *api.Recall, memories []api.RecalledMemory, name func(api.MemorySource) string) {
	mode := "hybrid: by meaning and by words"
	if how != nil && how.Mode != api.RecallModeHybrid {
		mode = strings.TrimSuffix(string(how.Mode)+": "+how.Reason, ": ")
	}
	p.stage(at, "recalled", count(len(memories))+" ("+mode+")")
	for _, m := range memories {
		p.line("%*s%s  %s", textAt, "", p.paint(yellow, fmt.Sprintf("%.2f", m.Score)), p.paint(bold, name(m.Source)))
		for _, line := range wrap(gist(m), lineWidth-textAt-6) {
			p.line("%*s%s", textAt+6, "", p.paint(dim, line))
		}
	}
}

func count(memories int) string {
	switch memories {
	case 0:
		return "no memory yet"
	case 1:
		return "1 memory"
	default:
		return fmt.Sprintf("%d memories", memories)
	}
}

// diff prints a unified diff in the usual colours.
func (p *printer) diff(unified string) {
	p.line("")
	for text := range strings.Lines(unified) {
		text = strings.TrimRight(text, "\n")
		p.line("%*s%s", diffAt, "", p.paint(diffStyle(text), text))
	}
}

func diffStyle(line string) style {
	switch {
	case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
		return bold
	case strings.HasPrefix(line, "@@"):
		return cyan
	case strings.HasPrefix(line, "+"):
		return green
	case strings.HasPrefix(line, "-"):
		return red
	default:
		return ""
	}
}
