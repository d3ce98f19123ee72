package artifact

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestCheckPattern(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"*", "**", "report/*.md", "./a.txt", "**/*.{log,txt}", ".config/x", "a..b", "[a-z]?"} {
		if err := CheckPattern(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "/", "/etc/*", "..", "../*", "a/../../b", "{..,a}/b", "a/{b,..}", "[", "{a"} {
		if err := CheckPattern(bad); !errors.Is(err, ErrPattern) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// folder has files, links that lead out of it, and a pipe.
func folder(t *testing.T) *os.Root {
	t.Helper()
	outside, inside := t.TempDir(), t.TempDir()
	write := func(path string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(path), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(outside, "secret.txt"))
	for _, name := range []string{"a.txt", "b.md", "deep/er/c.txt", "deep/d.txt", ".env", ".git/config"} {
		write(filepath.Join(inside, name))
	}
	err := errors.Join(
		os.Symlink(filepath.Join(outside, "secret.txt"), filepath.Join(inside, "out.txt")),
		os.Symlink(outside, filepath.Join(inside, "outside")),
		os.Symlink("../../..", filepath.Join(inside, "deep", "up")),
		os.Symlink("deep", filepath.Join(inside, "within")),
		os.Symlink("loop", filepath.Join(inside, "loop")),
		os.Symlink("a.txt", filepath.Join(inside, "link.txt")),
		syscall.Mkfifo(filepath.Join(inside, "pipe.txt"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(inside)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func TestFind(t *testing.T) {
	t.Parallel()
	root := folder(t)
	for name, test := range map[string]struct {
		patterns []string
		want     string
		warned   string
	}{
		"files by name":           {patterns: []string{"b.md", "./a.txt", "none"}, want: "b.md a.txt"},
		"no folder":               {patterns: []string{"deep", "deep/er"}, want: ""},
		"each once":               {patterns: []string{"*.md", "**/*.md"}, want: "b.md"},
		"any depth":               {patterns: []string{"**/[cd].txt"}, want: "deep/d.txt deep/er/c.txt"},
		"hidden where it is said": {patterns: []string{"*", ".env"}, want: "a.txt b.md link.txt loop out.txt outside pipe.txt within .env"},
		"a folder outside":        {patterns: []string{"outside/*"}, warned: `"outside" is left out`},
		"a file outside":          {patterns: []string{"outside/secret.txt"}, warned: `"outside/secret.txt" is left out`},
		"up by a link":            {patterns: []string{"deep/up/*"}, warned: `"deep/up" is left out`},
		"a link within":           {patterns: []string{"within/*.txt"}, want: "within/d.txt"},
		"up":                      {patterns: []string{"deep/../../*/secret.txt"}, warned: "left out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var warned []string
			found := find(t.Context(), root, test.patterns, func(message string) { warned = append(warned, message) })
			if strings.Join(found, " ") != test.want {
				t.Errorf("found %q", found)
			}
			if said := strings.Join(warned, "\n"); !strings.Contains(said, test.warned) || (said == "") != (test.warned == "") {
				t.Errorf("warned %q", said)
			}
		})
	}
}

func TestFindTooMuch(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for i := range maxFiles + 1 {
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	var warned []string
	warn := func(message string) { warned = append(warned, message) }
	if found := find(t.Context(), root, []string{"*", "1"}, warn); len(found) != maxFiles || len(warned) != 1 {
		t.Errorf("found %d, warned %q", len(found), warned)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if found := find(ctx, root, []string{"*"}, warn); len(found) != 0 || len(warned) != 2 {
		t.Errorf("found %d after the end, warned %q", len(found), warned)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	n := names{used: map[string]bool{}, mask: func(text string) string { return strings.ReplaceAll(text, "s3cr3t", "[redacted]") }}
	long := strings.Repeat("x", 300)
	for _, test := range [][2]string{
		{"a.txt", "a.txt"}, {"report/a.md", "report_a.md"}, {"report_a.md", "report_a-2.md"}, {"report a.md", "report_a-3.md"},
		{".env", "env"}, {"-rf", "rf"}, {"...", "file"}, {"übersicht\n\xff.txt", "_bersicht__.txt"}, {"of-s3cr3t.log", "of-_redacted_.log"},
		{long + ".log", long[:251] + ".log"}, {long + "/y.log", long[:249] + "_y.log"}, {long + ".log", long[:249] + "-2.log"},
		{"a." + long, long[:255]}, {"b." + long, long[:253] + "-2"},
	} {
		if got := n.of(test[0]); got != test[1] {
			t.Errorf("%.40q is %q, want %q", test[0], got, test[1])
		}
	}
	if got := slices.Collect(func(yield func(string) bool) {
		for name := range n.used {
			if len(name) > maxName && !yield(name) {
				return
			}
		}
	}); len(got) > 0 {
		t.Errorf("too long: %q", got)
	}
}

func TestContentType(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{"a.html": "text/html; charset=utf-8", "a": "application/octet-stream", "a.\n": "application/octet-stream"} {
		if got := contentType(file); got != want {
			t.Errorf("%q is %s", file, got)
		}
	}
}
