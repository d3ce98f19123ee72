package docstest_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/graf-run/graf/shared/docstest"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBlocks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want []docstest.Block
	}{
		"none":      {"# Title\n\nText with `sh`.\n", nil},
		"two":       {"```sh\na\nb\n```\ntext\n```sh\nc\n```\n", []docstest.Block{{Words: []string{}, Commands: "a\nb\n", Line: 1}, {Words: []string{}, Commands: "c\n", Line: 6}}},
		"words":     {"```sh background key\na\n```\n", []docstest.Block{{Words: []string{"background", "key"}, Commands: "a\n", Line: 1}}},
		"in a list": {"1. Do:\n\n   ```sh\n   if a; then\n     b\n   fi\n   ```\n", []docstest.Block{{Words: []string{}, Commands: "if a; then\n  b\nfi\n", Line: 3}}},
		"others":    {"```\na\n```\n```shell\nb\n```\n```yaml sh\nc\n```\n", nil},
		"a fence within another block": {
			"```\n```sh\n```\n```sh\na\n```\n", []docstest.Block{{Words: []string{}, Commands: "a\n", Line: 4}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "a.md")
			write(t, path, c.text)
			if got := docstest.Blocks(t, path); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, path := range []string{"README.md", "docs/a.md", "docs/a.go", ".git/b.md", "sdk/node_modules/x/c.md"} {
		write(t, filepath.Join(root, path), "")
	}
	if got := docstest.Files(t, root); !slices.Equal(got, []string{"README.md", "docs/a.md"}) {
		t.Errorf("got %q", got)
	}
}
