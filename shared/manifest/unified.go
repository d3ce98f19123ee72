package manifest

import (
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// contextLines are shown around each change.
const contextLines = 3

// unified is the unified diff of one resource as YAML.
func (p Pair) unified() string {
	oldLabel, newLabel, oldText, newText := "/dev/null", "/dev/null", "", ""
	if p.Before != nil {
		oldLabel, oldText = "before/"+p.Before.Ref.path(), p.Before.YAML()
	}
	if p.After != nil {
		newLabel, newText = "after/"+p.After.Ref.path(), p.After.YAML()
	}
	diff, err := udiff.ToUnifiedDiff(oldLabel, newLabel, oldText, udiff.Lines(oldText, newText), contextLines)
	if err != nil { // Only edits that contradict each other.
		return fmt.Sprintf("--- %s\n+++ %s\n# no diff: %v\n", oldLabel, newLabel, err)
	}
	renumber(diff.Hunks)
	return diff.String()
}

// renumber sets where each hunk starts in the new text. go-udiff v0.4.1 gets it wrong after a hunk that joins edits.
func renumber(hunks []*udiff.Hunk) {
	grown := 0
	for _, hunk := range hunks {
		hunk.ToLine = hunk.FromLine + grown
		for _, line := range hunk.Lines {
			switch line.Kind {
			case udiff.Insert:
				grown++
			case udiff.Delete:
				grown--
			case udiff.Equal:
			}
		}
	}
}

// limited collects text up to a bound, whole lines only, and says at its end what is missing.
type limited struct {
	text          strings.Builder
	most, omitted int
}

// write adds a resource's text, which is not made once the bound is reached.
func (l *limited) write(text func() string) {
	// Room for the closing line.
	room := l.most - l.text.Len() - 100
	if l.omitted > 0 || room <= 0 {
		l.omitted++
		return
	}
	made := text()
	if len(made) > room {
		l.omitted++
		made = made[:strings.LastIndexByte(made[:room], '\n')+1]
	}
	l.text.WriteString(made)
}

func (l *limited) String() string {
	if l.omitted == 0 {
		return l.text.String()
	}
	return l.text.String() + fmt.Sprintf("# cut here: %d resources are not shown, or not in full\n", l.omitted)
}
