package artifact

import (
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName bounds a name, in bytes, as file systems do.
const maxName = 255

// ValidName tells what is wrong with an artifact's name, or nil. A name is that of a file, without folders, so that
// whoever downloads it gets no file elsewhere than expected.
func ValidName(name string) error {
	switch {
	case name == "":
		return errors.New("must not be empty")
	case len(name) > maxName:
		return fmt.Errorf("has %d bytes, at most %d are allowed", len(name), maxName)
	case !utf8.ValidString(name):
		return errors.New("must be valid UTF-8")
	case strings.ContainsAny(name, `/\`):
		return errors.New("must not contain / or \\: give the file's name without folders")
	case strings.Trim(name, ".") == "":
		return errors.New("must not consist of dots")
	case strings.TrimSpace(name) != name:
		return errors.New("must not begin or end with a space")
	case strings.ContainsFunc(name, unprintable):
		return errors.New("must not contain control or invisible characters")
	}
	return nil
}

// unprintable also finds what reverses the direction of text, by which "exe.txt" can be made to look like "txt.exe".
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
}

// ValidContentType tells what is wrong with a media type, or nil.
func ValidContentType(contentType string) error {
	if len(contentType) > maxName {
		return fmt.Errorf("has %d bytes, at most %d are allowed", len(contentType), maxName)
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.Contains(mediaType, "/") || strings.ContainsFunc(contentType, unprintable) {
		return errors.New("must be a media type such as text/plain")
	}
	return nil
}

// ValidSHA256 tells what is wrong with a digest, or nil.
func ValidSHA256(digest string) error {
	if raw, err := hex.DecodeString(digest); err != nil || len(raw) != 32 || digest != strings.ToLower(digest) {
		return errors.New("must be the SHA-256 as 64 lower-case hexadecimal digits")
	}
	return nil
}

// keyPrefix is that of all keys.
const keyPrefix = "tasks/"

// Key is where an artifact is kept.
func Key(taskID, artifactID string) string { return keyPrefix + taskID + "/artifacts/" + artifactID }
