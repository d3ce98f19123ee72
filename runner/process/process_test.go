package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a process of the test's own is to run: everything that is a child of the
// runner's process ends with the agent, and that must not be the tests.
const (
	scriptVariable = "PROCESS_TEST_SCRIPT"
	afterVariable  = "PROCESS_TEST_STOP_AFTER"
	// spare is a script that has one program run on, whatever it is sent.
	spare = "spare"
)

// result is what that process says.
type result struct {
	End    End
	Reason string
	Error  string
	Output string
	TookMS int64
}

var errStop = errors.New("as the test wants it")

func TestMain(m *testing.M) {
	if script := os.Getenv(scriptVariable); script != "" {
		if err := json.NewEncoder(os.Stdout).Encode(runScript(script)); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func runScript(script string) result {
	if err := Adopt(); err != nil {
		return result{Error: err.Error()}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if after, err := time.ParseDuration(os.Getenv(afterVariable)); err == nil {
		time.AfterFunc(after, func() { cancel(errStop) })
	}
	if script == spare {
		return runSpared()
	}
	args := []string{"sh", "-c", script}
	if script == "none" {
		args = []string{"/no/such/program"}
	}
	var output bytes.Buffer
	began := time.Now()
	end, err := Run(ctx, Command{
		Args: args, Env: os.Environ(), Output: &output, Errors: &output, Grace: 300 * time.Millisecond, Input: strings.NewReader("input\n"),
	})
	r := result{End: end, Output: output.String(), TookMS: time.Since(began).Milliseconds()}
	if end.Stopped != nil {
		r.Reason, r.End.Stopped = end.Stopped.Error(), nil
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// runSpared ends a program, or not.
func runSpared() (r result) {
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return result{Error: err.Error()}
	}
	rest := &ending{group: cmd.Process.Pid, told: map[int]bool{}, send: func(int, syscall.Signal) error { return nil }}
	r.End.Left = !rest.killRest()
	if err := cmd.Process.Kill(); err != nil {
		return result{Error: err.Error()}
	}
	_ = cmd.Wait() // killed
	return r
}

// TestLeft: what cannot be ended is told.
func TestLeft(t *testing.T) {
	t.Parallel()
	if got := elsewhere(t, spare, 0); !got.End.Left || got.Error != "" {
		t.Errorf("got %+v", got)
	}
}

// TestAllOfAContainer are ended at one time by its first process, and by no other.
func TestAllOfAContainer(t *testing.T) {
	t.Parallel()
	for first, want := range map[bool][]int{true: {-1}, false: {-7, 8, 9}} {
		var killed []int
		e := &ending{group: 7, first: first, send: func(pid int, signal syscall.Signal) error {
			if signal == syscall.SIGKILL {
				killed = append(killed, pid)
			}
			return nil
		}}
		if e.kill([]int{8, 9}); !slices.Equal(killed, want) {
			t.Errorf("first is %v: killed %v", first, killed)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		after  time.Duration
		want   End
		output string
		reason string
		err    string
	}{
		"success":    {script: "cat; echo error >&2", output: "input\nerror\n"},
		"exit code":  {script: "exit 7", want: End{Code: 7}},
		"killed":     {script: "kill -9 $$", want: End{Code: 137, Signal: syscall.SIGKILL}},
		"no program": {script: "none", err: "could not be started"},
		"told to end": {
			script: "trap 'echo ends; exit 3' TERM; echo began; sleep 60 & wait", after: 200 * time.Millisecond,
			want: End{Code: 3}, reason: errStop.Error(), output: "began\nends\n",
		},
		"does not want to end": {
			script: "trap '' TERM; while :; do sleep 1; done", after: 200 * time.Millisecond,
			want: End{Code: 137, Signal: syscall.SIGKILL, Killed: true}, reason: errStop.Error(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := elsewhere(t, c.script, c.after)
			if got.End != c.want || got.Output != c.output || got.Reason != c.reason || !strings.Contains(got.Error, c.err) ||
				(c.err == "") != (got.Error == "") {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestNothingIsLeft has agents start what is not theirs to leave behind.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"in the background":             "sleep 987 & echo $! > pid",
		"in a session of its own":       "setsid sh -c 'echo $$ > pid; exec sleep 987' & until test -s pid; do sleep 0.01; done",
		"that ignores SIGTERM":          "setsid sh -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 1; done' & until test -s pid; do sleep 0.01; done",
		"that holds the output":         "(trap '' TERM; sleep 987) & echo $! > pid",
		"of which the parent has ended": "sh -c 'setsid sleep 987 & echo $! > pid'; test -s pid",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pid")
			got := elsewhere(t, strings.ReplaceAll(script, "pid", file), 0)
			if got.End != (End{}) || got.Error != "" {
				t.Fatalf("got %+v", got)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var pid int
			if _, err := fmt.Sscan(string(text), &pid); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("process %d: %v", pid, err)
			}
		})
	}
}

// TestTerminatedOnce: what has left the group gets one SIGTERM, and its grace, on a natural end as on a stop.
func TestTerminatedOnce(t *testing.T) {
	t.Parallel()
	const daemon = `(setsid sh -c 'trap "echo told >> LOG; sleep 0.1; echo done >> LOG; exit" TERM; : > READY; while :; do sleep 0.01; done' &) ; until test -e READY; do sleep 0.01; done`
	for name, c := range map[string]struct {
		script string
		after  time.Duration
	}{
		"natural end": {script: daemon},
		"stop":        {script: daemon + "; exec sleep 60", after: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			log := filepath.Join(folder, "log")
			script := strings.NewReplacer("LOG", log, "READY", filepath.Join(folder, "ready")).Replace(c.script)
			got := elsewhere(t, script, c.after)
			if text, err := os.ReadFile(log); err != nil || string(text) != "told\ndone\n" {
				t.Errorf("%q, %v; %+v", text, err, got)
			}
		})
	}
}

// elsewhere runs a script in a process of its own.
func elsewhere(t *testing.T, script string, after time.Duration) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), scriptVariable+"="+script)
	if after > 0 {
		cmd.Env = append(cmd.Env, afterVariable+"="+after.String())
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}
