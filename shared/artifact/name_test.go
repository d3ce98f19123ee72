package artifact

import (
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "diff.patch", "übersicht 1.txt", ".gitignore", "a..b", strings.Repeat("x", 255)} {
		if err := ValidName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ".", "..", "../a", "a/b", `..\a`, "/etc/passwd", "a\x00", "a\nb", "\x7f", "\xff", " a", "a ",
		"gpj\u202eexe", "a\u2028b", "a\u200bb", strings.Repeat("x", 256), strings.Repeat("é", 128),
	} {
		if ValidName(bad) == nil {
			t.Errorf("%q is taken for valid", bad)
		}
	}
}

func TestValidContentType(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"text/plain", "text/plain; charset=utf-8", "application/vnd.graf+json"} {
		if err := ValidContentType(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "text", "text/", "text/plain\r\nX: y", "a/b; c", "a/" + strings.Repeat("b", 300)} {
		if ValidContentType(bad) == nil {
			t.Errorf("%q is taken for valid", bad)
		}
	}
}

func TestValidSHA256(t *testing.T) {
	t.Parallel()
	if err := ValidSHA256(strings.Repeat("0a", 32)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "0a", strings.Repeat("0A", 32), strings.Repeat("0g", 32), strings.Repeat("0a", 33)} {
		if ValidSHA256(bad) == nil {
			t.Errorf("%q is taken for valid", bad)
		}
	}
}

func FuzzValidName(f *testing.F) {
	f.Add("a")
	f.Add("../a")
	f.Fuzz(func(t *testing.T, name string) {
		if ValidName(name) == nil && (name == "" || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\\\x00\r\n")) {
			t.Errorf("%q is taken for valid", name)
		}
	})
}
