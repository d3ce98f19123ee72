// Package embedding turns texts into vectors through OpenAI's embeddings API or
// a server that speaks it.
//
// A Client sends texts in batches, each call under its own timeout, waits as
// the provider asks when it is overloaded, and checks what comes back: the
// count, the dimension and every number. Its errors are of two kinds, because
// callers do two things with them: ErrUnavailable (keep the texts, try later)
// and ErrRejected (this text will never have a vector).
package embedding

import (
	"crypto/sha256"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxTextBytes bounds one text. OpenAI's models read at most 8,192 tokens, and
// no token of theirs is shorter than a byte: without a tokenizer, this is the
// longest text that surely fits.
const MaxTextBytes = 8191

// Normalize brings text to the form that is hashed and embedded, so that what
// only looks different is not embedded twice: valid UTF-8 in Unicode's composed
// form (NFC), Unix line ends, no NUL, no white space at the ends of lines or of
// the text.
func Normalize(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	lines := strings.Split(norm.NFC.String(text), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRightFunc(line, unicode.IsSpace)
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// ContentHash is the SHA-256 of the normalised text: the identity under which a
// text is embedded once.
func ContentHash(text string) [sha256.Size]byte {
	return sha256.Sum256([]byte(Normalize(text)))
}

// Clip shortens text to MaxTextBytes, at a white space if one is near, never
// within a character.
func Clip(text string) string {
	if len(text) <= MaxTextBytes {
		return text
	}
	end := MaxTextBytes
	for !utf8.RuneStart(text[end]) {
		end--
	}
	// A cut within a word costs a little meaning, a cut far back a lot.
	if space := strings.LastIndexFunc(text[:end], unicode.IsSpace); space > MaxTextBytes*9/10 {
		end = space
	}
	return text[:end]
}
