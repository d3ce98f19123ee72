package policy

import "strings"

// patterns is a list of texts in which * stands for any text, none included.
type patterns []string

// match reports whether the text fits one of the patterns.
func (p patterns) match(text string) bool {
	for _, pattern := range p {
		if fits(pattern, text) {
			return true
		}
	}
	return false
}

// fits compares piece by piece: the first must be at the start, the last at the end, and those between in their order,
// each as early as it goes, which leaves the most for the rest.
func fits(pattern, text string) bool {
	head, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	if !strings.HasPrefix(text, head) {
		return false
	}
	text = text[len(head):]
	for {
		piece, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, piece)
		}
		at := strings.Index(text, piece)
		if at < 0 {
			return false
		}
		text, rest = text[at+len(piece):], next
	}
}
