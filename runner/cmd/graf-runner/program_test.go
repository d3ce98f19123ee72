package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/problem"
)

// program is graf-runner as it is released.
var program string

func TestMain(m *testing.M) {
	if seconds := os.Getenv(secondsVariable); seconds != "" {
		talk(seconds)
		return
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	folder, err := os.MkdirTemp("", "graf-runner-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	program = filepath.Join(folder, "graf-runner")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build graf-runner: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

const token = "graf_task_0123456789abcdef"

// callback takes events as the function does, checked by the same document.
type callback struct {
	*httptest.Server

	validator *api.Validator
	// delay is how long an answer takes, status what it is, if not 202.
	delay  time.Duration
	status int

	mu      sync.Mutex
	ids     map[string]bool
	events  []api.Event
	refused []string
}

func newCallback(t testing.TB) *callback {
	t.Helper()
	validator, err := api.NewValidator()
	if err != nil {
		t.Fatal(err)
	}
	c := &callback{validator: validator, ids: map[string]bool{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(c.delay)
	events, err := c.validator.DecodeEvents(r, api.MaxEventsBytes)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.status != 0:
		problem.WriteStatus(w, r, problem.ErrConflict.With("as the test wants it"), c.status)
		return
	case r.Header.Get("Authorization") != "Bearer "+token:
		problem.Write(w, r, problem.ErrUnauthenticated.With("another token"))
		return
	case errors.Is(err, problem.ErrBadRequest) && strings.Contains(err.Error(), "ended early"):
		return // it was given up, to be sent again
	case err != nil:
		c.refused = append(c.refused, err.Error())
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	for _, e := range events {
		if !c.ids[e.EventID] {
			c.ids[e.EventID] = true
			c.events = append(c.events, e)
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

// of are the contents of the events of a type.
func (c *callback) of(kind api.EventType) []map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	var contents []map[string]any
	for _, e := range c.events {
		if e.EventType != kind {
			continue
		}
		var content map[string]any
		_ = json.Unmarshal(e.Content, &content) // a heartbeat has none
		contents = append(contents, content)
	}
	return contents
}

// logged is what the log's events of a stream say.
func (c *callback) logged(stream string) string {
	var b strings.Builder
	for _, content := range c.of(api.EventTypeLog) {
		if content["stream"] == stream {
			fmt.Fprintln(&b, content["text"])
		}
	}
	return b.String()
}

// said is all that was told, as JSON.
func (c *callback) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, e := range c.events {
		fmt.Fprintf(&b, "%s %s\n", e.EventType, e.Content)
	}
	return b.String()
}

// task is the environment of one, which changes overrule: NAME=value, or NAME alone for none.
func task(t testing.TB, url string, changes ...string) []string {
	t.Helper()
	prompt := filepath.Join(t.TempDir(), "prompt")
	if err := os.WriteFile(prompt, []byte("Put a greeting into hello.txt."), 0o600); err != nil {
		t.Fatal(err)
	}
	environment := []string{
		"PATH=" + os.Getenv("PATH"), "GRAF_TASK_ID=01a201ce-53d3-7179-a3f9-7db8d48b1184", "GRAF_CALLBACK_URL=" + url,
		"GRAF_CALLBACK_TOKEN=" + token, "GRAF_PROMPT_FILE=" + prompt, "TMPDIR=" + t.TempDir(),
	}
	for _, change := range changes {
		name, _, set := strings.Cut(change, "=")
		environment = slices.DeleteFunc(environment, func(v string) bool { return strings.HasPrefix(v, name+"=") })
		if set {
			environment = append(environment, change)
		}
	}
	return environment
}

// ended is how the program did.
type ended struct {
	code           int
	stdout, stderr string
	took           time.Duration
	// peak is the most memory that it had, in KiB.
	peak int
}

// run runs graf-runner to its end; during gets its process id, if it is not nil.
func run(t testing.TB, environment []string, during func(pid int), args ...string) ended {
	t.Helper()
	return runAs(t, environment, during, append([]string{program}, args...)...)
}

func runAs(t testing.TB, environment []string, during func(pid int), args ...string) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = environment, t.TempDir(), &stdout, &stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	peak := make(chan int)
	go func() { peak <- watch(cmd.Process.Pid, over) }()
	if during != nil {
		during(cmd.Process.Pid)
	}
	err := cmd.Wait()
	close(over)
	e := ended{stdout: stdout.String(), stderr: stderr.String(), took: time.Since(began), peak: <-peak}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		e.code = exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return e
}

// watch reads the peak of a process' memory until it is over.
func watch(pid int, over <-chan struct{}) int {
	peak := 0
	for {
		if kib, found := status(pid, "VmHWM"); found {
			peak = kib
		}
		select {
		case <-over:
			return peak
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// status is a figure of /proc/PID/status, in KiB.
func status(pid int, field string) (int, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, field+":"); found {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			return kib, err == nil
		}
	}
	return 0, false
}

// has fails unless a text has all these.
func has(t *testing.T, what, text string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not say %q:\n%.4000s", what, want, text)
		}
	}
}

// gone fails unless no process of this id is left.
func gone(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d: %v", pid, err)
		}
	}
}

// install puts programs on a PATH of their own: scripts, by name.
func install(t testing.TB, scripts map[string]string) (path string) {
	t.Helper()
	folder := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return "PATH=" + folder + ":" + os.Getenv("PATH")
}
