package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/graf-run/graf/sdk/go/graftest"
)

// beside runs the tests beside a platform of their own.
type beside struct{ *testing.M }

// Run implements testscript.TestingM.
func (b beside) Run() int {
	return graftest.Run(b.M, "GRAF_RATE_LIMIT_PER_SECOND=2000", "GRAF_RATE_LIMIT_BURST=4000", "GRAF_STREAM_POLL=200ms")
}

// TestMain makes the test program graf itself where it is called so.
func TestMain(m *testing.M) {
	testscript.Main(beside{m}, map[string]func(){"graf": main})
}

// reach has a script find the platform, with settings of its own.
func reach(env *testscript.Env) error {
	env.Setenv("URL", os.Getenv("GRAF_URL"))
	env.Setenv("TOKEN", os.Getenv("GRAF_TOKEN"))
	env.Setenv("BROKER", os.Getenv("GRAF_BROKER_URL"))
	env.Setenv("GRAF_CONFIG", filepath.Join(env.WorkDir, "settings", "config.yaml"))
	return os.WriteFile(filepath.Join(env.WorkDir, "token"), []byte(os.Getenv("GRAF_TOKEN")+"\n"), 0o600)
}

// TestScripts runs graf as people do, on the real functions.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Setup: reach, RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": exits, "keep": keep, "mode": mode, "letter": letter},
	})
}

// exits checks the status of a command: status 3 graf get ….
func exits(script *testscript.TestScript, negated bool, arguments []string) {
	if negated || len(arguments) < 2 {
		script.Fatalf("usage: status NUMBER PROGRAM [ARGUMENT…]")
	}
	err := script.Exec(arguments[1], arguments[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != arguments[0] {
		script.Fatalf("the status is %s, not %s", got, arguments[0])
	}
}

// keep puts the last output, without its newline, into a variable: keep stdout ID.
func keep(script *testscript.TestScript, _ bool, arguments []string) {
	script.Setenv(arguments[1], strings.TrimSpace(script.ReadFile(arguments[0])))
}

// letter waits for a dead letter and puts its id into a variable: letter ID.
func letter(script *testscript.TestScript, _ bool, arguments []string) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		script.Check(script.Exec("graf", "dlq", "list", "--status", "dead", "-o", "json"))
		var letters []struct{ DeadLetterID string }
		script.Check(json.Unmarshal([]byte(script.ReadFile("stdout")), &letters))
		if len(letters) > 0 {
			script.Setenv(arguments[0], letters[0].DeadLetterID)
			return
		}
	}
	script.Fatalf("no event became a dead letter")
}

// mode checks a file's permissions: mode 600 FILE.
func mode(script *testscript.TestScript, _ bool, arguments []string) {
	info, err := os.Stat(script.MkAbs(arguments[1]))
	script.Check(err)
	if got := info.Mode().Perm().String(); got != arguments[0] {
		script.Fatalf("%s has %s, not %s", arguments[1], got, arguments[0])
	}
}

// TestDocumentation runs the commands of docs/cli.md, one after the other.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, block := range strings.Split(string(text), "```sh\n")[1:] {
		commands, _, _ := strings.Cut(block, "```")
		lines = append(lines, commands)
	}
	if len(lines) < 5 || len(lines) != strings.Count(string(text), "```sh") {
		t.Fatalf("of docs/cli.md %d blocks of commands are run", len(lines))
	}
	folder := t.TempDir()
	for name, content := range map[string]string{
		"commands.sh":     "set -euo pipefail\n" + strings.Join(lines, ""),
		"doc.txtar":       "exec bash commands.sh\n",
		"token":           os.Getenv("GRAF_TOKEN") + "\n",
		"deployment.yaml": deployment,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Files: []string{filepath.Join(folder, "doc.txtar")},
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"commands.sh", "token", "deployment.yaml"} {
				content, err := os.ReadFile(filepath.Join(folder, name))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o600); err != nil {
					return err
				}
			}
			env.Setenv("ADDRESS", os.Getenv("GRAF_URL"))
			env.Setenv("GRAF_CONFIG", filepath.Join(env.WorkDir, "config.yaml"))
			return nil
		},
	})
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {namespace: shop, name: web}
spec:
  template:
    spec:
      containers:
        - {name: web, image: "shop:1", resources: {requests: {memory: 100Mi}}}
`

// run runs a command line without a terminal and gives what it printed.
func run(t *testing.T, s streams, arguments ...string) int {
	t.Helper()
	return execute(context.Background(), arguments, s)
}
