package redact

import "strings"

// flags takes out the arguments of flags with a secret's name, where they are arguments of their own: in a command, in
// a list of JSON or of YAML, and in a diff of these. What is behind an = assignments takes out.
func flags(text string) string {
	s := scanner{text: text}
	var out strings.Builder
	kept := 0
	for at := 0; ; {
		next := strings.Index(text[at:], "--")
		if next < 0 {
			break
		}
		begin := at + next + len("--")
		at = begin
		for at < len(text) && at-begin < maxName && isNameByte(text[at]) {
			at++
		}
		if !SecretName(text[begin:at]) {
			continue
		}
		for begin, end := s.argument(at); begin < end; begin, end = s.replacement(begin, end) {
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

// argument finds the argument behind a flag that ends at at. It is empty if there is none.
func (s *scanner) argument(at int) (begin, end int) {
	if quote := at + escapesAt(s.text, at); quote < len(s.text) && strings.IndexByte("\"'", s.text[quote]) >= 0 {
		at = quote + 1
	}
	after := at
	isJSON := at < len(s.text) && s.text[at] == ','
	if isJSON {
		at++
	}
	at = s.skipBlanks(at)
	if line, ends := s.nextLine(at); ends {
		return s.item(line, isJSON)
	}
	if at == after { // Something else is there, such as an =.
		return 0, 0
	}
	return s.argumentAt(at)
}

// nextLine is where the next line begins, if this one ends at at.
func (s *scanner) nextLine(at int) (int, bool) {
	if strings.HasPrefix(s.text[at:], "\r\n") {
		return at + len("\r\n"), true
	}
	return at + 1, strings.HasPrefix(s.text[at:], "\n")
}

// item is the argument in a line of its own, of a list of JSON, or of YAML where a dash is before it. The marks of a diff
// may be before either.
func (s *scanner) item(line int, isJSON bool) (begin, end int) {
	for begin = line; begin < len(s.text) && strings.IndexByte(" \t+-", s.text[begin]) >= 0; {
		begin++
	}
	if !isJSON && !strings.HasSuffix(s.text[line:begin], "- ") {
		return 0, 0
	}
	return s.argumentAt(begin)
}

func (s *scanner) argumentAt(at int) (begin, end int) {
	if at == len(s.text) || strings.IndexByte("-[", s.text[at]) >= 0 { // Another flag, or what was taken out before.
		return 0, 0
	}
	return s.valueAt(at, " \t\r\n\"',]")
}

// replacement is the argument that a diff shows in the next line in the place of one that was removed.
func (s *scanner) replacement(begin, end int) (int, int) {
	line, more := strings.LastIndexByte(s.text[:begin], '\n')+1, strings.IndexByte(s.text[end:], '\n')
	if s.text[line] != '-' || more < 0 {
		return 0, 0
	}
	next := end + more + 1
	if !strings.HasPrefix(s.text[next:], "+") {
		return 0, 0
	}
	return s.item(next, true)
}
