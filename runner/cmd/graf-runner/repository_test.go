package main_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/api"
)

// TestWorkIsNotLost: what cannot be pushed does not keep the rest from being, and what cannot be told of an agent that
// has failed is told to be so.
func TestWorkIsNotLost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script       string
		code, pushed int
		warned       string
	}{
		"a repository in it":          {"git init -q sub; echo 1 > sub/file; echo 1 > new", 0, 1, "'sub/' does not have a commit"},
		"broken, and the agent fails": {"rm -rf .git; exit 3", 3, 0, "has broken the repository"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			remote := filepath.Join(folder, "remote")
			setup := exec.Command("sh", "-ec", `git init -q --bare -b main "$0"; git clone -q "$0" "$1" 2> /dev/null; cd "$1"
git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first; git push -q origin HEAD:main`, remote, filepath.Join(folder, "seed"))
			if out, err := setup.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			calls := newCallback(t)
			got := run(t, task(t, calls.URL), nil, "--folder", filepath.Join(folder, "work"),
				"--repository", "file://"+remote, "--repository-file", "--push", "--", "sh", "-ec", c.script)
			if got.code != c.code || !strings.Contains(calls.logged("runner"), c.warned) {
				t.Errorf("code %d: %s\n%s", got.code, calls.said(), got.stderr)
			}
			pushed := 0
			for _, event := range calls.of(api.EventTypeProgress) {
				if event["kind"] == "push" {
					pushed++
				}
			}
			if pushed != c.pushed {
				t.Errorf("pushed %d times: %s", pushed, calls.said())
			}
		})
	}
}
