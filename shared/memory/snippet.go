package memory

import (
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SnippetBytes bounds a snippet.
const SnippetBytes = 480

// snippetTerms is how many of a query's terms a snippet is chosen by: the
// heaviest, one for each bit of a termSet.
const snippetTerms = 64

// termSet has a bit for each of a query's terms.
type termSet uint64

// snippet is the run of lines of content, at most SnippetBytes long, in which
// the query's terms weigh most; its beginning when they are nowhere. terms are
// sorted, the heaviest first.
func snippet(content string, terms []term) string {
	if len(content) <= SnippetBytes {
		return content
	}
	terms = terms[:min(len(terms), snippetTerms)]
	lines := snippetLines(content)
	found := make([]termSet, len(lines))
	for i, line := range lines {
		found[i] = termsIn(line, terms)
	}
	best, bestWeight, bestSize := [2]int{0, 0}, -1.0, 0
	for first := range lines {
		size, seen := 0, termSet(0)
		for last := first; last < len(lines) && size+len(lines[last]) <= SnippetBytes; last++ {
			size += len(lines[last])
			seen |= found[last]
			weight := weightOf(seen, terms)
			if weight > bestWeight || (weight == bestWeight && size < bestSize) {
				best, bestWeight, bestSize = [2]int{first, last}, weight, size
			}
		}
	}
	return strings.TrimSpace(widen(lines, best))
}

// widen adds lines around the best ones while there is room, first after,
// then before: what follows explains more than what leads there.
func widen(lines []string, best [2]int) string {
	first, last := best[0], best[1]
	size := 0
	for _, line := range lines[first : last+1] {
		size += len(line)
	}
	for last+1 < len(lines) && size+len(lines[last+1]) <= SnippetBytes {
		last++
		size += len(lines[last])
	}
	for first > 0 && size+len(lines[first-1]) <= SnippetBytes {
		first--
		size += len(lines[first])
	}
	return strings.Join(lines[first:last+1], "")
}

// snippetLines cuts content after line ends, and what is longer than a third
// of a snippet at spaces, else between characters.
func snippetLines(content string) []string {
	const longest = SnippetBytes / 3
	var lines []string
	for line := range strings.Lines(content) {
		for len(line) > longest {
			at := strings.LastIndexByte(line[:longest], ' ') + 1
			if at == 0 {
				for at = longest; at > 1 && !utf8.RuneStart(line[at]); at-- {
				}
			}
			lines, line = append(lines, line[:at]), line[at:]
		}
		lines = append(lines, line)
	}
	return lines
}

// termsIn are the terms that line has.
func termsIn(line string, terms []term) termSet {
	var set termSet
	for word := range strings.FieldsFuncSeq(strings.ToLower(line), notInWord) {
		for i, t := range terms {
			// Postgres's stems are beginnings of words, but for a y that it
			// makes an i.
			if strings.HasPrefix(word, strings.TrimSuffix(t.lexeme, "i")) {
				set |= 1 << i
			}
		}
	}
	return set
}

func weightOf(set termSet, terms []term) float64 {
	weight := 0.0
	for ; set != 0; set &= set - 1 {
		weight += terms[bits.TrailingZeros64(uint64(set))].weight
	}
	return weight
}

func notInWord(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
