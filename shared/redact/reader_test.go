package redact_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/redact"
)

// The border between two blocks of a stream is at 64 KiB: each of these is moved over it, byte by byte.
func TestReaderAcrossBlocks(t *testing.T) {
	t.Parallel()
	token, _ := auth.NewTaskToken()
	key := "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("c2VjcmV0IQ==\n", 20) + "-----END PRIVATE KEY-----"
	long := strings.Repeat("x", 100<<10) + " "
	for name, c := range map[string]struct{ before, text, secret string }{
		"a token in a line":          {"a line\n", "X: " + token + " used\n", token[12:]},
		"a token in a long line":     {long, "X: " + token + " used\n", token[12:]},
		"a token without blanks":     {strings.TrimSpace(long), token + "\n", token[12:]},
		"a bearer in a long line":    {long, "Authorization: Bearer abcdefgh12345678 x", "h12345678"},
		"a name and a value":         {"a line\n", "- name: DB_PASSWORD\n  value: hunter2\n", "hunter2"},
		"a name and a value in JSON": {long, `{"name":"DB_PASSWORD","value":"hunter2"},`, "hunter2"},
		"an assignment":              {long, "password=hunter2 x", "hunter2"},
		"a private key":              {"a line\n", key + "\nafter\n", "c2VjcmV0IQ=="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for shift := range len(c.text) + 8 {
				fill := 2*(64<<10) - shift - len(c.before)
				text := strings.Repeat("aaa bbb\n", fill/8) + strings.Repeat("y", fill%8) + "\n" + c.before
				text = text[max(0, len(text)-128<<10+shift):] + c.text + strings.Repeat("the rest\n", 100)
				got := readAll(t, iotest.HalfReader(strings.NewReader(text)))
				if strings.Contains(got, c.secret) {
					at := strings.Index(got, c.secret)
					t.Fatalf("with %d bytes before the border: …%q", shift, got[max(0, at-80):min(len(got), at+80)])
				}
				if strings.Count(got, "the rest\n") < 99 {
					t.Fatalf("with %d bytes before the border: what follows was left out", shift)
				}
			}
		})
	}
}

func readAll(t *testing.T, from io.Reader) string {
	t.Helper()
	got, err := io.ReadAll(redact.NewReader(from))
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func TestReader(t *testing.T) {
	t.Parallel()
	token, _ := auth.NewTaskToken()
	plain := strings.Repeat("level=info msg=\"reconciled\" name: web replicas=3 ä→\n", 10_000)
	endless := strings.Repeat("QUJD", 100_000)
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                 {"", ""},
		"no end of line":          {"a", "a"},
		"many blocks":             {plain, plain},
		"a line of many blocks":   {strings.ReplaceAll(plain, "\n", " "), strings.ReplaceAll(plain, "\n", " ")},
		"no UTF-8":                {"a\xffb\n" + strings.Repeat("\x80", 200_000), "a\uFFFDb\n" + strings.Repeat("\uFFFD", 4)},
		"a token":                 {"use " + token + "\n", "use [redacted]\n"},
		"a secret of many blocks": {"password=" + endless + " after\n", "password=[redacted] after\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := readAll(t, iotest.OneByteReader(strings.NewReader(c.text)))
			if name == "no UTF-8" { // One mark for each run of a block.
				if !utf8.ValidString(got) || !strings.HasPrefix(got, "a\uFFFDb\n\uFFFD") || len(got) > len(c.want) {
					t.Errorf("got %d bytes: %.40q", len(got), got)
				}
				return
			}
			if got != c.want {
				t.Errorf("got %d bytes %.80q, want %d", len(got), got, len(c.want))
			}
		})
	}
}

// A line that only looks as if a key began does not take the rest of a log along.
func TestReaderOfAKeyWithoutEnd(t *testing.T) {
	t.Parallel()
	got := readAll(t, strings.NewReader("-----BEGIN PRIVATE KEY-----\n"+strings.Repeat("a line\n", 100_000)+"the end\n"))
	if !strings.HasSuffix(got, "a line\nthe end\n") || len(got) < 600_000 {
		t.Errorf("%d bytes are left: %.100q", len(got), got)
	}
}

func TestReaderTellsOfErrors(t *testing.T) {
	t.Parallel()
	failure := errors.New("broken")
	got, err := io.ReadAll(redact.NewReader(io.MultiReader(strings.NewReader("before"), iotest.ErrReader(failure))))
	if string(got) != "before" || !errors.Is(err, failure) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := io.ReadAll(redact.NewReader(nothing{})); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v, want %v", err, io.ErrNoProgress)
	}
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

func BenchmarkReader(b *testing.B) {
	token, _ := auth.NewTaskToken()
	lines := strings.Repeat("level=info msg=\"reconciled\" name: web replicas=3 url=https://example.com/a\n", 100)
	for name, unit := range map[string]string{
		"lines":    lines + "Authorization: Bearer " + token + "\n",
		"one line": strings.ReplaceAll(lines, "\n", " "),
	} {
		for _, size := range []int{1 << 20, 16 << 20} {
			b.Run(fmt.Sprintf("%s/%dMiB", name, size>>20), func(b *testing.B) {
				text := strings.Repeat(unit, size/len(unit))
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					if _, err := io.Copy(io.Discard, redact.NewReader(strings.NewReader(text))); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
