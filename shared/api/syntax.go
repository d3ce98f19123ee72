package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/graf-run/graf/shared/problem"
)

// Bounds on what a body may hold besides its bytes.
const (
	maxDepth        = 128
	maxNumberLength = 64
)

// parse reads one JSON value, which begins in the given line. Its errors are of kind ErrBadRequest with a line
// and a column where the text is not JSON in UTF-8, and of kind ErrInvalid with
// a pointer where it is, but cannot be stored.
func parse(data []byte, line int) (any, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, problem.ErrBadRequest.With("The body is empty; send JSON.")
	}
	if i := invalidUTF8(data); i >= 0 {
		return nil, malformed(data, line, i, "invalid UTF-8")
	}
	// The decoder's tokens alone would let some broken text through.
	if !json.Valid(data) {
		var raw json.RawMessage
		return nil, malformedJSON(data, line, json.Unmarshal(data, &raw))
	}
	if i := loneSurrogate(data); i >= 0 {
		return nil, malformed(data, line, i, "half of a surrogate pair")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	value, err := readValue(d, 0)
	if fault, ok := errors.AsType[*fieldFault](err); ok {
		return nil, problem.ErrInvalid.Fields(fault.field)
	}
	if err != nil {
		return nil, fmt.Errorf("api: read valid JSON: %w", err)
	}
	return value, nil
}

// malformedJSON says where encoding/json stopped.
func malformedJSON(data []byte, line int, err error) error {
	offset := len(data)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		// Offset counts the bytes read: the one it stopped at is the last of them.
		offset = int(syntax.Offset) - 1
		if strings.HasPrefix(syntax.Error(), "unexpected end") {
			offset = len(data)
		}
	}
	return malformed(data, line, offset, err.Error())
}

// malformed is an error about the byte at offset of data, which begins in the
// given line. Lines and columns count from 1, columns in characters.
func malformed(data []byte, line, offset int, what string) error {
	before := data[:max(0, min(offset, len(data)))]
	line += bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return problem.ErrBadRequest.With("The body is not JSON: %s at line %d, column %d.", what, line, column)
}

// invalidUTF8 is the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	for i := 0; ; {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
}

// loneSurrogate is the offset in valid JSON of the first \u escape that is half
// a pair, or -1. encoding/json would replace it unasked.
func loneSurrogate(data []byte) int {
	for i := bytes.IndexByte(data, '\\'); i >= 0 && i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		r := escapedRune(data[i:])
		switch {
		case r < 0:
			i++
		case !utf16.IsSurrogate(r):
			i += 5
		case utf16.DecodeRune(r, escapedRune(data[i+6:])) == utf8.RuneError:
			return i
		default:
			i += 11
		}
	}
	return -1
}

// escapedRune is the code unit of the \uXXXX that text starts with, or -1.
func escapedRune(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

// fieldFault is a value that is JSON but cannot be stored. Its pointer grows on
// the way out of the tree, so that good bodies pay nothing for it.
type fieldFault struct{ field problem.FieldError }

func (f *fieldFault) Error() string { return f.field.Pointer + ": " + f.field.Detail }

func newFault(format string, args ...any) *fieldFault {
	return &fieldFault{problem.FieldError{Detail: fmt.Sprintf(format, args...)}}
}

// in puts a fault one level further down.
func (f *fieldFault) in(token string) *fieldFault {
	f.field.Pointer = "/" + escapeToken(token) + f.field.Pointer
	return f
}

// in does so with an error that may be a fault.
func in(token string, err error) error {
	if f, ok := errors.AsType[*fieldFault](err); ok {
		return f.in(token)
	}
	return err
}

// escapeToken is RFC 6901, section 3.
func escapeToken(token string) string { return tokenEscaper.Replace(token) }

var tokenEscaper = strings.NewReplacer("~", "~0", "/", "~1")

// readValue reads the next value from valid JSON.
func readValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		if depth == maxDepth {
			return nil, newFault("must not be nested more than %d levels deep", maxDepth)
		}
		if token == '{' {
			return readObject(d, depth+1)
		}
		return readArray(d, depth+1)
	case json.Number:
		return token, checkNumber(token)
	case string:
		return token, checkText(token)
	default:
		return token, nil
	}
}

func readObject(d *json.Decoder, depth int) (any, error) {
	members := map[string]any{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, ok := token.(string)
		if !ok {
			return nil, io.ErrUnexpectedEOF
		}
		if err := checkText(key); err != nil {
			return nil, in(key, err)
		}
		if _, twice := members[key]; twice {
			return nil, in(key, newFault("must not occur twice in one object"))
		}
		if members[key], err = readValue(d, depth); err != nil {
			return nil, in(key, err)
		}
	}
	_, err := d.Token()
	return members, err
}

func readArray(d *json.Decoder, depth int) (any, error) {
	items := []any{}
	for d.More() {
		item, err := readValue(d, depth)
		if err != nil {
			return nil, in(strconv.Itoa(len(items)), err)
		}
		items = append(items, item)
	}
	_, err := d.Token()
	return items, err
}

// checkText refuses what Postgres cannot hold in text or jsonb.
func checkText(s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return newFault("must not contain the character U+0000")
	}
	return nil
}

// checkNumber refuses numbers that would cost their reader dear.
func checkNumber(n json.Number) error {
	if len(n) > maxNumberLength {
		return newFault("must be written in at most %d characters", maxNumberLength)
	}
	if _, err := n.Float64(); err != nil {
		return newFault("must fit a double-precision number")
	}
	return nil
}
