package main_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/api"
)

// TestVariables: what is missing or wrong is told all at once, and nothing is run.
func TestVariables(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(name string, text []byte) string {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	pipe := filepath.Join(folder, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		changes []string
		args    []string
		code    int
		says    []string
	}{
		"none at all": {
			changes: []string{"GRAF_TASK_ID", "GRAF_CALLBACK_URL", "GRAF_CALLBACK_TOKEN", "GRAF_PROMPT_FILE"}, code: 64,
			says: []string{"GRAF_TASK_ID", "GRAF_CALLBACK_URL", "GRAF_CALLBACK_TOKEN is missing", "GRAF_PROMPT_FILE is missing"},
		},
		"all wrong": {
			changes: []string{
				"GRAF_TASK_ID=7", "GRAF_CALLBACK_URL=callback:80", "GRAF_MEMORY_URL=/memory", "GRAF_ACTIONS_URL=ftp://x", "GRAF_DEADLINE=soon",
				"GRAF_BUDGET_TOKENS=1.5", "GRAF_BUDGET_USD=NaN", "GRAF_PROMPT_FILE=/no/such/file",
			}, code: 64,
			says: []string{
				`GRAF_TASK_ID is "7"`, `GRAF_CALLBACK_URL is "callback:80"`, "GRAF_MEMORY_URL", "GRAF_ACTIONS_URL", `GRAF_DEADLINE is "soon"`,
				`GRAF_BUDGET_TOKENS is "1.5"`, `GRAF_BUDGET_USD is "NaN"`, "GRAF_PROMPT_FILE cannot be read: stat /no/such/file",
			},
		},
		"infinite budget":       {changes: []string{"GRAF_BUDGET_USD=Inf"}, code: 64, says: []string{"GRAF_BUDGET_USD"}},
		"prompt is a folder":    {changes: []string{"GRAF_PROMPT_FILE=" + folder}, code: 64, says: []string{"it must be a file"}},
		"prompt is a pipe":      {changes: []string{"GRAF_PROMPT_FILE=" + pipe}, code: 64, says: []string{"it must be a file"}},
		"prompt is long":        {changes: []string{"GRAF_PROMPT_FILE=" + write("long", bytes.Repeat([]byte{'x'}, 1<<20+1))}, code: 64, says: []string{"at most 1048576 bytes"}},
		"prompt is no text":     {changes: []string{"GRAF_PROMPT_FILE=" + write("binary", []byte("\xff\xfe"))}, code: 64, says: []string{"not UTF-8"}},
		"MCP without memory":    {args: []string{"--mcp", "--", "true"}, code: 64, says: []string{"GRAF_MEMORY_URL is missing"}},
		"unknown agent":         {args: []string{"--agent", "oracle"}, code: 64, says: []string{`no agent "oracle": use claude, codex, command`}},
		"unknown flag":          {args: []string{"--fast"}, code: 64, says: []string{"unknown flag: --fast"}},
		"no pattern":            {args: []string{"--artifacts", "../*", "--", "true"}, code: 64, says: []string{"../*"}},
		"no branch":             {args: []string{"--repository", "https://git.example/r.git", "--branch", "a..b", "--", "true"}, code: 64, says: []string{"a..b"}},
		"manifests elsewhere":   {args: []string{"--manifests", "/etc", "--", "true"}, code: 64, says: []string{"/etc, must be in the working folder"}},
		"no place for a spool":  {args: []string{"--spool", "/no/such/folder", "--", "true"}, code: 1, says: []string{"make the spool"}},
		"prices that are none":  {args: []string{"--prices", write("prices", []byte("gpt: {in: 1}")), "--", "true"}, code: 64, says: []string{"read the prices"}},
		"prices that are not":   {args: []string{"--prices", "/no/such/file", "--", "true"}, code: 64, says: []string{"read the prices"}},
		"wrong prices by Graf":  {changes: []string{"GRAF_MODEL_PRICES=gpt: {input: -1}"}, code: 64, says: []string{"below 0"}},
		"folder that is not":    {args: []string{"--folder", "/no/such/folder", "--", "true"}, code: 127},
		"program that is not":   {args: []string{"--", "/no/such/program"}, code: 127},
		"program that is none":  {args: []string{"--", folder}, code: 127},
		"command without a one": {code: 127},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, calls := c, newCallback(t)
			if c.args == nil && c.code == 64 {
				c.args = []string{"--", "sh", "-c", "echo ran"}
			}
			got := run(t, task(t, calls.URL, c.changes...), nil, c.args...)
			if got.code != c.code || strings.Contains(got.stdout, "ran") {
				t.Errorf("code %d, want %d; output %q", got.code, c.code, got.stdout)
			}
			has(t, "standard error", got.stderr, c.says...)
			if strings.Contains(got.stderr, token) {
				t.Errorf("it tells the token: %s", got.stderr)
			}
			if c.code == 64 && len(calls.of(api.EventTypeStarted)) > 0 {
				t.Error("its start is reported")
			}
			// What could not be started is reported, what cannot be reported is not run.
			failed := calls.of(api.EventTypeFailed)
			if c.says == nil && (len(failed) != 1 || fmt.Sprint(failed[0]["failure"]) != "map[class:agent]") {
				t.Errorf("reported as failed: %v", failed)
			}
		})
	}
}

// TestNoHeartbeat: 0 is never, and so is less.
func TestNoHeartbeat(t *testing.T) {
	t.Parallel()
	for _, every := range []string{"0", "-1s"} {
		c := newCallback(t)
		got := run(t, task(t, c.URL), nil, "--heartbeat", every, "--", "true")
		if got.code != 0 || len(c.of(api.EventTypeHeartbeat)) > 0 {
			t.Errorf("%s: code %d: %s", every, got.code, got.stderr)
		}
	}
}

// TestCallbackIsAway from start to end: the agent is not stopped, and the end does not wait for ever.
func TestCallbackIsAway(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	broken := newCallback(t)
	broken.status = 503
	for name, url := range map[string]string{
		"nobody listens": "http://127.0.0.1:1/events", "nobody answers": "http://" + silent.Addr().String(), "it is broken": broken.URL,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := run(t, task(t, url), nil, "--flush", "1s", "--spool-limit", "200000", "--", "sh", "-c", "seq 1 200000; exit 3")
			if got.code != 3 || strings.Count(got.stdout, "\n") != 200_000 {
				t.Errorf("code %d, %d lines", got.code, strings.Count(got.stdout, "\n"))
			}
			has(t, "standard error", got.stderr, `msg="events could not be sent" events=`, "events were lost", `"no room"=`)
			if got.took > 20*time.Second {
				t.Errorf("it took %v", got.took)
			}
		})
	}
}

// TestTaskIsOver: an attempt that nobody listens to any more is told to end.
func TestTaskIsOver(t *testing.T) {
	t.Parallel()
	c := newCallback(t)
	c.status = 409
	got := run(t, task(t, c.URL), nil, "--flush", "1s", "--heartbeat", "100ms", "--", "sleep", "60")
	if got.code != 143 || got.took > 20*time.Second {
		t.Errorf("code %d after %v: %s", got.code, got.took, got.stderr)
	}
}

// TestFlood: a million lines at once need no more memory than a few, and none is lost.
func TestFlood(t *testing.T) {
	t.Parallel()
	c := newCallback(t)
	c.delay = 50 * time.Millisecond
	const n = 1_000_000
	got := run(t, task(t, c.URL), nil, "--flush", "1m", "--", "seq", "1", strconv.Itoa(n))
	if got.code != 0 {
		t.Fatalf("code %d: %s", got.code, got.stderr)
	}
	next := 1
	for line := range strings.Lines(c.logged("stdout")) {
		if strings.TrimSpace(line) != strconv.Itoa(next) {
			t.Fatalf("%q came when %d was next", line, next)
		}
		next++
	}
	if next != n+1 {
		t.Errorf("%d lines came", next-1)
	}
	if got.peak > 32<<10 {
		t.Errorf("it had %d KiB", got.peak)
	}
}

// TestLongLine is one of 100 MB.
func TestLongLine(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"command", "claude"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := newCallback(t)
			const flood = "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end"
			got := run(t, task(t, c.URL, install(t, map[string]string{"claude": flood, "flood": flood})), nil, "--agent", kind, "--", "flood")
			if got.code != 0 {
				t.Fatalf("code %d: %.1000s", got.code, got.stderr)
			}
			has(t, "the output", got.stdout[max(0, len(got.stdout)-100):], "x … ", " bytes left out\nend\n")
			has(t, "the log", c.logged("stdout"), "xxx", "end\n")
			if most := map[string]int{"command": 24 << 10, "claude": 80 << 10}[kind]; got.peak > most || len(c.refused) > 0 {
				t.Errorf("it had %d KiB, want at most %d; refused %v", got.peak, most, c.refused)
			}
		})
	}
}

// TestOddOutput: bytes that are no text, and JSON that is none, are told as far as they can be.
func TestOddOutput(t *testing.T) {
	t.Parallel()
	const script = `printf 'a\377\376b\000c\r\n'; printf '{"type":"item.completed","item":{"type":"agent_mess\n'
printf '{"type":"assistant","message":{"content":[{"type":"text","text":"N\\u0000L \\ud800"}]}}\n'
printf '{"type":"item.completed","item":{"type":"agent_message","text":"N\\u0000L \\ud800"}}\n[1,2\n"x"\nnull\n\n{}\n'
head -c 300000 /dev/zero | tr '\0' '\1'; head -c 300000 /dev/urandom; printf 'no end'`
	for _, kind := range []string{"command", "codex", "claude"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := newCallback(t)
			scripts := map[string]string{"codex": script, "claude": script, "odd": script}
			got := run(t, task(t, c.URL, install(t, scripts)), nil, "--agent", kind, "--", "odd")
			if got.code != 0 || len(c.refused) > 0 || strings.Contains(got.stderr, "lost") {
				t.Fatalf("code %d, refused %v: %s", got.code, c.refused, got.stderr)
			}
			has(t, "the log", c.logged("stdout"), "a\uFFFDb\uFFFDc\n", `"agent_mess`, "no end\n")
			if kind != "command" {
				has(t, "an event", fmt.Sprint(c.of(api.EventTypeProgress)), "N\uFFFDL \uFFFD")
			}
		})
	}
}

// TestFullDisk: the run goes on without a place for its events, and its end is told.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	c := newCallback(t)
	c.delay = time.Second
	script := `seq 1 300000; echo '{"type":"result","subtype":"success","result":"All is done."}'`
	got := runAs(t, task(t, c.URL, install(t, map[string]string{"claude": script})), nil,
		"sh", "-c", `ulimit -f 200; exec "$@"`, "sh", program, "--agent", "claude")
	if got.code != 0 || strings.Count(got.stdout, "\n") != 300_001 {
		t.Errorf("code %d, %d lines", got.code, strings.Count(got.stdout, "\n"))
	}
	has(t, "standard error", got.stderr, "events are lost", "file too large", `"no room"=`)
	if completed := c.of(api.EventTypeCompleted); len(completed) != 1 || completed[0]["summary"] != "All is done." {
		t.Errorf("completed: %v", completed)
	}
}
