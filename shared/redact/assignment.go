package redact

import "strings"

// maxName bounds the name that is looked at before an = or a colon, in bytes.
const maxName = 64

// assignments takes out values that are assigned to a name that says they are
// secret: PASSWORD=x anywhere, as in shells and in URLs, and "password: x" as a
// line of YAML or JSON, in a diff too.
func assignments(text string) string {
	var out strings.Builder
	kept := 0
	for at := 0; at < len(text); {
		next := strings.IndexAny(text[at:], "=:")
		if next < 0 {
			break
		}
		at += next
		begin, end := secretValue(text, at)
		at++
		if begin < end && begin >= kept {
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

// secretValue finds the value that the separator at at assigns to a secret
// name. It is empty if there is none, or if it was taken out before.
func secretValue(text string, at int) (begin, end int) {
	name, before := nameBefore(text, at)
	if name == "" || !secretName(name) {
		return 0, 0
	}
	begin = at + 1
	stops := " \t\r\n&;,\"'`"
	if text[at] == ':' {
		if !opensLine(text[:before]) {
			return 0, 0
		}
		stops = "\r\n"
		for begin < len(text) && text[begin] == ' ' {
			begin++
		}
	}
	if begin < len(text) && strings.IndexByte("\"'", text[begin]) >= 0 {
		stops = string(text[begin]) + "\r\n"
		begin++
	}
	end = len(text)
	if stop := strings.IndexAny(text[begin:], stops); stop >= 0 {
		end = begin + stop
	}
	// YAML: what follows is not the value but says how it is written below.
	if value := text[begin:end]; strings.HasPrefix(value, Mark) || strings.Trim(value, "|>-+{[ ,") == "" {
		return 0, 0
	}
	return begin, end
}

// nameBefore is the name that ends at at, in quotes or not, and where it begins.
func nameBefore(text string, at int) (string, int) {
	end := at
	if end > 0 && strings.IndexByte("\"'", text[end-1]) >= 0 {
		end--
	}
	begin := end
	for begin > 0 && end-begin < maxName && isNameByte(text[begin-1]) {
		begin--
	}
	return text[begin:end], begin
}

func isNameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '-' || b == '.'
}

// opensLine says whether nothing but blanks, quotes and the marks of diffs,
// lists and objects stands between the last line break and the end of text.
func opensLine(text string) bool {
	line := text[strings.LastIndexByte(text, '\n')+1:]
	return strings.Trim(line, " \t+-\"'{") == ""
}
