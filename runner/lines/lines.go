// Package lines reads an agent's output line by line, whatever it is: bytes that
// are no text, lines without an end, and no line break for hours.
package lines

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// bufferSize is how much of a line is read at once.
const bufferSize = 64 << 10

// Read calls each with every line, without its end, in valid UTF-8 and without U+0000, which Graf does not take. Of a line that
// is longer than most bytes it gets the beginning, and how many bytes are left out.
// It ends with the stream; its error is the reader's.
func Read(r io.Reader, most int, each func(line string, leftOut int)) error {
	reader := bufio.NewReaderSize(r, bufferSize)
	var line []byte
	leftOut := 0
	for {
		part, err := reader.ReadSlice('\n')
		whole := err == nil
		part = bytes.TrimSuffix(part, []byte{'\n'})
		keep := min(len(part), most-len(line))
		line = append(line, part[:keep]...)
		leftOut += len(part) - keep
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if whole || len(line) > 0 {
			text := bytes.TrimSuffix(line, []byte{'\r'})
			each(strings.ReplaceAll(strings.ToValidUTF8(string(text), "\uFFFD"), "\x00", "\uFFFD"), leftOut)
			line, leftOut = line[:0], 0
			if cap(line) > bufferSize {
				line = nil // a long one need not stay
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the output: %w", err)
		}
	}
}
