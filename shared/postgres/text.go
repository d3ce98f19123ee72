package postgres

import "strings"

// Text is text as a column can hold it: without U+0000, which Postgres refuses
// with SQLSTATE 22021, and with U+FFFD for what is not UTF-8. It is for texts
// from outside that nobody has checked, such as the tail of a container's log.
func Text(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
}
