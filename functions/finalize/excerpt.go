package finalize

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxTail bounds the part of an excerpt that is held in memory, in bytes.
const maxTail = 1 << 20

// excerpt is a text of which at most a certain size is kept: its beginning and, after a line that says how much was left
// out, its end. A text that breaks off is as long as it got, with a line that says so.
type excerpt struct {
	from io.Reader
	// head is how much more is handed on as it comes.
	head int
	tail ring
	// last is what follows the head, once all was read.
	last io.Reader
}

// newExcerpt keeps most bytes, and the lines that it adds.
func newExcerpt(from io.Reader, most int) *excerpt {
	tail := min(most/4, maxTail)
	return &excerpt{from: from, head: most - tail, tail: ring{size: tail}}
}

// Read implements io.Reader. It has no other error than the end.
func (e *excerpt) Read(to []byte) (int, error) {
	if e.last == nil && e.head > 0 {
		n, err := e.from.Read(to[:min(len(to), e.head)])
		e.head -= n
		if err != nil {
			e.last = strings.NewReader(broken(err))
		}
		if n > 0 || err == nil {
			return n, nil
		}
	}
	if e.last == nil {
		_, err := io.Copy(&e.tail, e.from)
		e.last = strings.NewReader(e.tail.text() + broken(err))
	}
	return e.last.Read(to)
}

// broken says why a text is not whole.
func broken(err error) string {
	if err == nil || errors.Is(err, io.EOF) {
		return ""
	}
	return fmt.Sprintf("\n[graf: the log could not be read any further: %s]\n", storable(err.Error()))
}

// ring keeps the last bytes that were written to it.
type ring struct {
	size    int
	data    []byte // grows to twice the size
	written int64
}

// Write implements io.Writer.
func (r *ring) Write(part []byte) (int, error) {
	n := len(part)
	r.written += int64(n)
	if n > r.size {
		part = part[n-r.size:]
	}
	if len(r.data)+len(part) > 2*r.size {
		keep := r.size - len(part)
		r.data = append(r.data[:0], r.data[len(r.data)-keep:]...)
	}
	r.data = append(r.data, part...)
	return n, nil
}

// text is what is kept, from the beginning of a line if anything was left out.
func (r *ring) text() string {
	data := r.data[max(0, len(r.data)-r.size):]
	if r.written == int64(len(data)) {
		return string(data)
	}
	if at := bytes.IndexByte(data, '\n'); at >= 0 {
		data = data[at+1:]
	}
	for len(data) > 0 && !utf8.RuneStart(data[0]) {
		data = data[1:]
	}
	return fmt.Sprintf("\n[graf: %d bytes of the log were left out here]\n%s", r.written-int64(len(data)), data)
}
