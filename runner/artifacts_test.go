package runner_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	graf "github.com/graf-run/graf/sdk/go"
)

// leaving is a task whose agent is a shell script that leaves files in a folder, which
// are uploaded by these patterns.
func leaving(t *testing.T, folder, script string, env map[string]string, patterns ...string) *run {
	t.Helper()
	command := []string{program, "--folder", folder, "--grace", "1s"}
	for _, pattern := range patterns {
		command = append(command, "--artifacts", pattern)
	}
	r := submit(t, graf.TaskSubmission{
		Prompt: "Leave some files.",
		Agent:  graf.Agent{Kind: graf.AgentKindCommand, Command: append(command, "--", "sh", "-c", script), Env: env},
	})
	r.folder = folder
	return r
}

// wantArtifacts compares the agent's artifacts with their content, by name.
func (r *run) wantArtifacts(t *testing.T, task graf.Task, want map[string]string) {
	t.Helper()
	var names []string
	for _, artifact := range task.Artifacts {
		if artifact.Source != graf.ArtifactSourceAgent {
			continue
		}
		names = append(names, artifact.Name)
		var got bytes.Buffer
		if err := r.client.DownloadArtifact(r.ctx, artifact, &got, nil); err != nil {
			t.Errorf("%s: %v", artifact.Name, err)
		}
		if got.String() != want[artifact.Name] {
			t.Errorf("%s has %d bytes, which are not the %d that were left", artifact.Name, got.Len(), len(want[artifact.Name]))
		}
	}
	for name := range want {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing: %q", name, names)
		}
	}
	if len(names) != len(want) {
		t.Errorf("artifacts: %q", names)
	}
}

// Files are uploaded whatever the agent's end; links out of the folder, pipes and names
// with secrets are not, and people are told.
func TestArtifacts(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	r := leaving(t, t.TempDir(), `
		mkdir -p report/deep && echo summary > report/deep/summary.md && echo log > "of-$API_TOKEN.log"
		ln -s /etc/passwd report/passwd.md && ln -s / report/all && mkfifo report/pipe.md && echo hidden > .env
		: > report/empty.md && echo other > other.txt
		exit 3`, map[string]string{"API_TOKEN": secret}, "report/**", "*.log", "report/all/etc/hosts")
	task, events := r.end(t, graf.TaskStatusFailed)
	r.wantArtifacts(t, task, map[string]string{
		"report_deep_summary.md": "summary\n", "of-_redacted_.log": "log\n", "report_empty.md": "",
	})
	for _, left := range []string{"report/passwd.md", "report/pipe.md", "report/all/etc/hosts"} {
		has(t, events, graf.EventTypeLog, `"stream":"runner"`, left)
	}
	if text := told(events); strings.Contains(text, secret) {
		t.Errorf("an event tells the secret: %s", text)
	}
	if task.Failure == nil || task.Failure.Class != graf.FailureClassAgent {
		t.Errorf("failure %+v", task.Failure)
	}
}

// An agent that is stopped leaves its artifacts, too.
func TestArtifactsOfAStoppedAgent(t *testing.T) {
	t.Parallel()
	r := leaving(t, t.TempDir(), `echo half > half.txt; echo $PPID > pid.tmp; mv pid.tmp pid; sleep 600`, nil, "*.txt")
	var runner int
	for r.ctx.Err() == nil && runner == 0 {
		if text, err := os.ReadFile(filepath.Join(r.folder, "pid")); err == nil {
			_, _ = fmt.Sscan(string(text), &runner) // 0 is looked for again
		}
		time.Sleep(20 * time.Millisecond)
	}
	if runner == 0 {
		t.Fatal("the agent was not started")
	}
	if err := syscall.Kill(runner, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	task, events := r.end(t, graf.TaskStatusFailed)
	r.wantArtifacts(t, task, map[string]string{"half.txt": "half\n"})
	has(t, events, graf.EventTypeFailed, "terminated")
}

// A pattern that is none keeps the agent from being started.
func TestArtifactsOutsideTheFolder(t *testing.T) {
	t.Parallel()
	r := leaving(t, t.TempDir(), `echo started > started`, nil, "../*")
	task, _ := r.end(t, graf.TaskStatusFailed)
	r.wantArtifacts(t, task, nil)
	if _, err := os.Stat(filepath.Join(r.folder, "started")); err == nil {
		t.Error("the agent was started")
	}
}

// change writes into a file all the time, until it is told to stop: by a mapping of it, since the kernel has a
// writer wait while the disk is busy.
func change(t *testing.T, path string, size int) (stop func()) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	page, err := syscall.Mmap(int(file.Fd()), 0, os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.Tick(time.Millisecond); ; {
			binary.NativeEndian.PutUint64(page, rand.Uint64())
			select {
			case <-done:
				_ = syscall.Munmap(page) // of what it was given
				return
			case <-tick:
			}
		}
	}()
	return func() { close(done); <-stopped }
}

// declared counts the artifacts of a name that events declare.
func (r *run) declared(t *testing.T, name string) (count int) {
	t.Helper()
	for event, err := range r.client.Events(r.ctx, r.id, graf.ListTaskEventsParams{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, artifact := range event.Artifacts {
			if artifact.Name == name {
				count++
			}
		}
	}
	return count
}

// A file that changes while it is uploaded is sent anew until it no longer does; one
// that always does is none in the end, rather than one with a wrong SHA-256.
func TestArtifactsThatChange(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	const size = 63 << 20 // to hash it takes longer than this machine lets the change wait
	settle := change(t, filepath.Join(folder, "settling.bin"), size)
	t.Cleanup(change(t, filepath.Join(folder, "restless.bin"), size))
	r := leaving(t, folder, "true", nil, "settling.bin", "restless.bin")
	for r.declared(t, "settling.bin") == 0 && r.ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	settle()
	task, events := r.end(t, graf.TaskStatusSucceeded)
	settled, err := os.ReadFile(filepath.Join(folder, "settling.bin"))
	if err != nil {
		t.Fatal(err)
	}
	r.wantArtifacts(t, task, map[string]string{"settling.bin": string(settled)})
	has(t, events, graf.EventTypeLog, `"stream":"runner"`, "restless.bin", "changed while it was uploaded")
	if n := r.declared(t, "settling.bin"); n < 2 {
		t.Errorf("it was declared %d times", n)
	}
}

// What is larger than 64 MiB is sent in parts, by a runner that holds none of it.
func TestLargeArtifact(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	content := make([]byte, 65<<20)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(content)
	if err := os.WriteFile(filepath.Join(folder, "large.bin"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	r := leaving(t, folder, "echo $PPID > pid", nil, "large.bin")
	peak := r.peak(t)
	task, _ := r.end(t, graf.TaskStatusSucceeded)
	r.wantArtifacts(t, task, map[string]string{"large.bin": string(content)})
	if t.Logf("the runner had %d KiB at the most", peak); peak == 0 || peak > 20<<10 {
		t.Errorf("the runner had %d KiB, for a file of %d", peak, len(content)>>10)
	}
}

// peak reads the most memory that the runner had, in KiB, until it has ended.
func (r *run) peak(t *testing.T) (peak int) {
	t.Helper()
	for r.ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
		pid, err := os.ReadFile(filepath.Join(r.folder, "pid"))
		if err != nil {
			continue
		}
		status, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "status"))
		if err != nil {
			return peak
		}
		for line := range strings.Lines(string(status)) {
			_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &peak) // on its own line
		}
	}
	return peak
}

// While Graf is away the run ends nonetheless, and says what was not uploaded.
func TestArtifactsWhileGrafIsAway(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, name := range []string{"a.txt", "b.txt"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := "01890000-0000-7000-8000-000000000000"
	command := exec.CommandContext(t.Context(), program, "--folder", folder, "--artifacts", "*.txt",
		"--artifacts-time", "500ms", "--flush", "300ms", "--", "true")
	command.Env = []string{
		"GRAF_TASK_ID=" + id, "GRAF_CALLBACK_TOKEN=secret-token", "GRAF_PROMPT_FILE=" + filepath.Join(folder, "a.txt"),
		"GRAF_CALLBACK_URL=http://127.0.0.1:1/v1/codex/tasks/" + id + "/events", "PATH=" + os.Getenv("PATH"),
	}
	began := time.Now()
	out, err := command.CombinedOutput()
	if took := time.Since(began); err != nil || took > 10*time.Second {
		t.Errorf("it took %v: %v", took, err)
	}
	for _, said := range []string{"a.txt", "connection refused", "nor are 1 more files", "events could not be sent"} {
		if !strings.Contains(string(out), said) {
			t.Errorf("it does not say %q:\n%s", said, out)
		}
	}
}
