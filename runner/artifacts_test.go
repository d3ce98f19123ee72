package runner_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

// changing serves Graf, and changes a file in the folder whenever an artifact of its name is declared, which is
// after it was hashed and before it is sent: as often as times has it.
func changing(t *testing.T, folder string, times map[string]int) *httptest.Server {
	t.Helper()
	platform, err := url.Parse(graf.OptionsFromEnvironment().BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	forward := httputil.NewSingleHostReverseProxy(platform)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			t.Errorf("read a request: %v", err)
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		mu.Lock()
		for name := range times {
			if bytes.Contains(body, []byte(`"name":"`+name+`"`)) && times[name] > 0 {
				times[name]--
				if err := os.WriteFile(filepath.Join(folder, name), fmt.Appendf(nil, "%d more changes", times[name]), 0o600); err != nil {
					t.Errorf("change a file: %v", err)
				}
			}
		}
		mu.Unlock()
		forward.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	return server
}

// A file that changes while it is uploaded is sent anew until it no longer does; one
// that always does is none in the end, rather than one with a wrong SHA-256.
func TestArtifactsThatChange(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, name := range []string{"settling.txt", "restless.txt"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("99 more changes"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := changing(t, folder, map[string]int{"settling.txt": 2, "restless.txt": 10})
	r := submit(t, graf.TaskSubmission{Prompt: "Leave files that change.", Agent: graf.Agent{
		Command: []string{"sh", "-c", `GRAF_CALLBACK_URL="$THROUGH/v1/codex/tasks/$GRAF_TASK_ID/events" exec "$@"`, "sh",
			program, "--folder", folder, "--artifacts", "settling.txt", "--artifacts", "restless.txt", "--", "true"},
		Env: map[string]string{"THROUGH": server.URL},
	}})
	task, events := r.end(t, graf.TaskStatusSucceeded)
	r.wantArtifacts(t, task, map[string]string{"settling.txt": "0 more changes"})
	has(t, events, graf.EventTypeLog, `"stream":"runner"`, "restless.txt", "changed while it was uploaded")
	declared := map[string]int{}
	for _, event := range events {
		for _, artifact := range event.Artifacts {
			declared[artifact.Name]++
		}
	}
	if want := map[string]int{"settling.txt": 3, "restless.txt": 4}; !maps.Equal(declared, want) {
		t.Errorf("declared %v, not %v", declared, want)
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
	r := leaving(t, folder, "echo $PPID > pid.tmp; mv pid.tmp pid", nil, "large.bin")
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
