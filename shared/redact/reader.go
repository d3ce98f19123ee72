package redact

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	// block is how much of a stream is looked at as one text, in bytes.
	block = 64 << 10
	// held is how much of a line that is longer than a block waits for the next one, so that no secret begins in the one
	// and ends in the other.
	held = 4 << 10
	// heldLines bounds the lines that wait for the next block because they name what may stand in it.
	heldLines = 16
	// maxKey bounds what is left out for a private key whose end does not come.
	maxKey = 16 << 10
	// maxEmpty bounds the reads in a row that bring nothing.
	maxEmpty = 100
)

// Reader is a text of any length without its secrets, as by Text, and without what is no UTF-8. It holds a block of
// 64 KiB at a time. Secrets that go over the border of blocks are found as well: in lines of any length, private keys of
// many lines, and values in the line after their name.
type Reader struct {
	from io.Reader
	err  error  // of from, kept until all before it was read
	in   []byte // read but not looked at
	out  string // to be read
	// inKey is how much more may be left out of a private key; inSecret says that a line went on within a secret.
	inKey    int
	inSecret bool
}

// NewReader makes a Reader. It reads ahead of what is asked for.
func NewReader(from io.Reader) *Reader {
	return &Reader{from: from, in: make([]byte, 0, block)}
}

// Read implements io.Reader. Its error is the other reader's, after all that came before it.
func (r *Reader) Read(to []byte) (int, error) {
	for r.out == "" {
		if r.err != nil && len(r.in) == 0 {
			return 0, r.err
		}
		r.fill()
		end := len(r.in)
		within := false // a line
		if r.err == nil {
			end, within = border(r.in)
		}
		r.out = r.clean(r.in[:end], within)
		r.in = append(r.in[:0], r.in[end:]...)
	}
	n := copy(to, r.out)
	r.out = r.out[n:]
	return n, nil
}

// fill reads until there is a block, or an error.
func (r *Reader) fill() {
	for empty := 0; len(r.in) < block && r.err == nil; empty++ {
		var n int
		n, r.err = r.from.Read(r.in[len(r.in):block])
		r.in = r.in[:len(r.in)+n]
		if n > 0 {
			empty = 0
		}
		if empty == maxEmpty && r.err == nil {
			r.err = io.ErrNoProgress
		}
	}
}

// clean is a block without its secrets; within says that its last line goes on.
func (r *Reader) clean(part []byte, within bool) string {
	text := strings.ToValidUTF8(string(part), "\uFFFD")
	text = r.afterKey(text)
	if r.inSecret {
		rest := strings.TrimLeftFunc(text, isTokenRune)
		if rest == "" {
			return ""
		}
		text, r.inSecret = rest, false
	}
	open := strings.LastIndex(text, "-----BEGIN ")
	masked := Text(text)
	if open >= 0 && strings.HasSuffix(masked, Mark) && !strings.Contains(text[open:], "-----END ") {
		r.inKey = maxKey - (len(text) - open)
	}
	r.inSecret = within && strings.HasSuffix(masked, Mark)
	return masked
}

// afterKey leaves out the rest of a private key that began in a block before.
func (r *Reader) afterKey(text string) string {
	if r.inKey <= 0 {
		return text
	}
	const end = "PRIVATE KEY-----"
	if at := strings.Index(text, end); at >= 0 && at < r.inKey {
		r.inKey = 0
		return text[at+len(end):]
	}
	left := min(len(text), r.inKey)
	r.inKey -= left
	for left < len(text) && !utf8.RuneStart(text[left]) {
		left++
	}
	return text[left:]
}

func isTokenRune(c rune) bool { return !strings.ContainsRune(" \t\r\n\"'`,;&<>()[]{}", c) }

// border is where a full block is cut, and whether that is within a line: after a line, best after one that names no
// secret, as the value may stand in the next.
func border(text []byte) (int, bool) {
	last := bytes.LastIndexByte(text, '\n') + 1
	if last == 0 {
		return borderWithin(text), true
	}
	end := last
	for range heldLines {
		start := bytes.LastIndexByte(text[:end-1], '\n') + 1
		if start == 0 {
			return last, false
		}
		if !namesAny(text[start:end]) {
			return end, false
		}
		end = start
	}
	return last, false
}

// borderWithin cuts a line that is longer than a block: before the first thing near the end that begins as a secret
// does, and what stands before it in its line of JSON, such as its name.
func borderWithin(text []byte) int {
	const name, literal = 64, 16
	end := len(text) - literal
	if at := firstLiteral(text[len(text)-held:]); at >= 0 {
		end = min(end, len(text)-held+at-name)
	}
	for back := 1; back < utf8.UTFMax && !utf8.RuneStart(text[end]); back++ { // Else it is no UTF-8 anyway.
		end--
	}
	return end
}

// firstLiteral is where the first of the literals stands that secrets begin with, or names of secrets; -1 for none.
func firstLiteral(text []byte) int {
	first := -1
	note := func(at int) {
		if at >= 0 && (first < 0 || at < first) {
			first = at
		}
	}
	for _, r := range rules {
		for _, literal := range r.literals {
			note(bytes.Index(text, []byte(literal)))
		}
	}
	lower := bytes.ToLower(text)
	for _, end := range secretEnds {
		note(bytes.Index(lower, []byte(end)))
	}
	return first
}

// namesAny says whether a line may name a secret.
func namesAny(line []byte) bool {
	if len(line) > held {
		return false
	}
	name := separators.Replace(strings.ToLower(string(line)))
	for _, end := range secretEnds {
		if strings.Contains(name, end) {
			return true
		}
	}
	return false
}
