package manifest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var salt = []byte("a salt for tests")

func parseFile(t *testing.T, path string) []Object {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := Parse(data, salt)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if difference := cmp.Diff(string(want), got); difference != "" {
		t.Errorf("%s (go test -update writes it anew):\n%s", path, difference)
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob("testdata/*/before.yaml")
	if err != nil || len(folders) == 0 {
		t.Fatal("no cases in testdata", err)
	}
	for _, before := range folders {
		folder := filepath.Dir(before)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			diff := Compare(parseFile(t, before), parseFile(t, filepath.Join(folder, "after.yaml")))
			golden(t, filepath.Join(folder, "unified.diff"), diff.Unified)
			golden(t, filepath.Join(folder, "summary.txt"), diff.Summary+"\n")
			diff.Unified, diff.Summary = "", ""
			var encoded bytes.Buffer
			encoder := json.NewEncoder(&encoded)
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", "  ")
			if err := encoder.Encode(diff); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(folder, "changes.json"), encoded.String())
		})
	}
}
