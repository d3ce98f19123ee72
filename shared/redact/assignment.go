package redact

import (
	"slices"
	"strings"
)

// maxName bounds the name that is looked at before an = or a colon, in bytes.
const maxName = 64

// assignments takes out values that are assigned to a name that says they are
// secret: PASSWORD=x anywhere, as in shells and in URLs, "password: x" as a line
// of YAML, {"password": "x"} anywhere, and what stands beside such a name:
// "name: PASSWORD" and "value: x". All of them in a diff, too.
func assignments(text string) string {
	s := scanner{text: text, lead: -1}
	var out strings.Builder
	kept := 0
	for at := 0; at < len(text); {
		next := strings.IndexAny(text[at:], "=:\n")
		if next < 0 {
			break
		}
		at += next + 1
		if text[at-1] == '\n' {
			s.line = at
			continue
		}
		if begin, end := s.secretValue(at - 1); begin < end {
			out.WriteString(text[kept:begin])
			out.WriteString(Mark)
			kept, at = end, end
		}
	}
	if kept == 0 {
		return text
	}
	return out.String() + text[kept:]
}

// scanner goes through a text once, from its beginning to its end.
type scanner struct {
	text string
	// line is where the present line begins, and lead where it begins to say
	// something; lead is found when it is asked for.
	line, lead int
	// removed and added say whether the name that was given last, before and
	// after the change that a diff shows, is a secret's.
	removed, added bool
}

// secretValue finds the value that the separator at at assigns to a secret
// name. It is empty if there is none, or if it was taken out before.
func (s *scanner) secretValue(at int) (begin, end int) {
	name, before := nameBefore(s.text, at)
	if s.text[at] == '=' {
		if !SecretName(name) {
			return 0, 0
		}
		return s.valueAt(at+1, " \t\r\n&;,\"'`")
	}
	isName := slices.Contains(nameFields, name)
	if !isName && (name != "value" || !s.named()) && !SecretName(name) {
		return 0, 0
	}
	stops := s.stops(before, at)
	if stops == "" {
		return 0, 0
	}
	begin = s.skipBlanks(at + 1)
	if isName {
		s.give(nameAt(s.text, begin))
		return 0, 0
	}
	if begin < len(s.text) && s.text[begin] == '{' { // Its own fields are looked at.
		return 0, 0
	}
	return s.valueAt(begin, stops)
}

// stops are the bytes that end the value after the colon at at, whose name
// begins at before; none if the colon assigns nothing.
func (s *scanner) stops(before, at int) string {
	if s.opensLine(before) {
		return "\r\n"
	}
	if strings.IndexByte("\"'", s.text[at-1]) >= 0 {
		return ",}] \t\r\n" // JSON
	}
	for before > s.line && strings.IndexByte(" \t", s.text[before-1]) >= 0 && at-before < 2*maxName {
		before--
	}
	if before > s.line && strings.IndexByte("{,", s.text[before-1]) >= 0 {
		return ",}]\r\n" // YAML on one line
	}
	return ""
}

// valueAt is the value that begins at begin: within its quotes, or up to one of
// stops. It is empty if it was taken out before, or is not the value itself.
func (s *scanner) valueAt(begin int, stops string) (int, int) {
	text, escapes := s.text, escapesAt(s.text, begin)
	quoted := begin+escapes < len(text) && strings.IndexByte("\"'", text[begin+escapes]) >= 0
	if quoted {
		begin += escapes + 1
	}
	switch {
	case strings.HasPrefix(text[begin:], Mark):
		return 0, 0
	case quoted:
		return begin, s.closing(begin, escapes)
	case strings.HasPrefix(text[begin:], "["):
		stops = "\r\n"
	}
	end := len(text)
	if stop := strings.IndexAny(text[begin:], stops); stop >= 0 {
		end = begin + stop
	}
	// YAML: what follows is not the value but says how it is written below.
	if strings.Trim(text[begin:end], "|>-+{[ ,") == "" {
		return 0, 0
	}
	return begin, end
}

// maxEscapes bounds the backslashes before a quote, of JSON in JSON in JSON.
const maxEscapes = 8

// closing is where the text in quotes ends that begins at begin, whose quote has
// escapes backslashes before it: at a quote with no more, or with the line.
func (s *scanner) closing(begin, escapes int) int {
	quote := s.text[begin-1]
	backslashes := 0
	for i := begin; i < len(s.text); i++ {
		switch s.text[i] {
		case '\\':
			backslashes++
			continue
		case '\r', '\n':
			return i
		case quote:
			// In a string of its own an even number is backslashes that are meant.
			if backslashes <= escapes || escapes == 0 && backslashes%2 == 0 {
				return i - min(backslashes, escapes)
			}
		}
		backslashes = 0
	}
	return len(s.text)
}

func (s *scanner) skipBlanks(at int) int {
	for at < len(s.text) && strings.IndexByte(" \t", s.text[at]) >= 0 {
		at++
	}
	return at
}

// opensLine says whether nothing but blanks, quotes and the marks of diffs,
// lists and objects stands in the present line before at.
func (s *scanner) opensLine(at int) bool {
	if s.lead < s.line {
		s.lead = s.line
		for s.lead < len(s.text) && strings.IndexByte(" \t+-\"'{[\\", s.text[s.lead]) >= 0 {
			s.lead++
		}
	}
	return s.lead >= at
}

// give notes the name that the values after it have. In a diff, a line that was
// removed has nothing to do with one that was added.
func (s *scanner) give(name string) {
	secret := SecretName(name)
	if mark := s.text[s.line]; mark != '+' {
		s.removed = secret
	}
	if mark := s.text[s.line]; mark != '-' {
		s.added = secret
	}
}

// named says whether the name that a value in the present line has is a secret's.
func (s *scanner) named() bool {
	switch s.text[s.line] {
	case '+':
		return s.added
	case '-':
		return s.removed
	default:
		return s.added || s.removed
	}
}

// nameBefore is the name that ends at at, in quotes or not, and where it begins.
func nameBefore(text string, at int) (string, int) {
	end := at
	if end > 0 && strings.IndexByte("\"'", text[end-1]) >= 0 {
		end--
		for end > 0 && text[end-1] == '\\' && at-end <= maxEscapes {
			end--
		}
	}
	begin := end
	for begin > 0 && end-begin < maxName && isNameByte(text[begin-1]) {
		begin--
	}
	return strings.TrimLeft(text[begin:end], "-"), begin // A diff's or a list's mark is no part of it.
}

// nameAt is the name that begins at begin, in quotes or not.
func nameAt(text string, begin int) string {
	begin += escapesAt(text, begin)
	if begin < len(text) && strings.IndexByte("\"'", text[begin]) >= 0 {
		begin++
	}
	end := begin
	for end < len(text) && end-begin < 4*maxName && isNameByte(text[end]) {
		end++
	}
	return text[begin:end]
}

// escapesAt counts the backslashes at begin.
func escapesAt(text string, begin int) int {
	n := 0
	for n < maxEscapes && begin+n < len(text) && text[begin+n] == '\\' {
		n++
	}
	return n
}

func isNameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '-' || b == '.'
}
