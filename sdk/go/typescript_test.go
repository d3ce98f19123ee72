package graf_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	graf "github.com/graf-run/graf/sdk/go"
)

const (
	typeScript = "../typescript"
	// scriptPatience bounds each program of Node.js.
	scriptPatience = 5 * time.Minute
)

// TestTypeScript has the TypeScript SDK tested by its own tests, beside the platform
// of these, and its README and examples run.
func TestTypeScript(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(filepath.Join(typeScript, "node_modules")); err != nil {
		t.Fatalf("%v; run: make setup-test", err)
	}
	script(t, "npm test")
	t.Run("readme", func(t *testing.T) { // which builds, and so is not beside the others
		readme, err := os.ReadFile(filepath.Join(typeScript, "README.md"))
		must(t, err)
		blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllSubmatch(readme, -1)
		if len(blocks) != 2 { // the second are the tests above
			t.Fatalf("README.md has %d blocks of sh", len(blocks))
		}
		t.Cleanup(func() { _ = os.Remove(filepath.Join(typeScript, "graf-run-graf-0.0.0.tgz")) }) // it may not be there
		out := script(t, string(blocks[0][1]))
		if !strings.HasSuffix(out, " succeeded\n") {
			t.Errorf("the last line does not say that the task succeeded:\n%s", out)
		}
	})
	t.Run("platform", func(t *testing.T) {
		t.Parallel()
		script(t, "npm run test:platform")
	})
	t.Run("container", func(t *testing.T) {
		t.Parallel()
		checkContainer(t)
	})
}

// script runs a script in the SDK's folder and gives its output.
func script(t *testing.T, commands string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), scriptPatience)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-eu", "-c", commands)
	command.Dir = typeScript
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", commands, err, out)
	}
	return string(out)
}

// checkContainer has the example of a container do a task, and holds what it reported
// to what Graf has of it.
func checkContainer(t *testing.T) {
	t.Helper()
	c := client(t)
	node, err := exec.LookPath("node")
	must(t, err)
	program, err := filepath.Abs(filepath.Join(typeScript, "dist", "examples", "container.js"))
	must(t, err)
	tag := "container-" + uuid.NewString()
	created, err := c.Submit(within(t), graf.TaskSubmission{
		Prompt: "List the resources.", Tags: []string{tag},
		Agent: graf.Agent{Kind: graf.AgentKindCommand, Command: []string{node, program}},
		Manifests: []graf.Manifest{
			graf.Manifest(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": "limits"}}`),
		},
	})
	must(t, err)
	task, err := c.Wait(within(t), created.TaskID)
	must(t, err)
	if task.Status != graf.TaskStatusSucceeded {
		t.Fatalf("the task is %s: %+v", task.Status, task.Failure)
	}
	var types []graf.EventType
	for event, err := range c.Events(within(t), created.TaskID, graf.ListTaskEventsParams{}) {
		must(t, err)
		if event.EventType != graf.EventTypeResource {
			types = append(types, event.EventType)
		}
	}
	want := []graf.EventType{graf.EventTypeStarted, graf.EventTypeProgress, graf.EventTypeArtifact, graf.EventTypeCompleted}
	if !slices.Equal(types, want) {
		t.Errorf("events: %v, want %v", types, want)
	}
	at := slices.IndexFunc(task.Artifacts, func(a graf.Artifact) bool { return a.Name == "report.md" })
	if at < 0 {
		t.Fatalf("artifacts: %+v", task.Artifacts)
	}
	var report bytes.Buffer
	must(t, c.DownloadArtifact(within(t), task.Artifacts[at], &report, nil))
	if !strings.HasPrefix(report.String(), "# Resources\n- ") || !strings.Contains(report.String(), "limits") {
		t.Errorf("the report is %q", report.String())
	}
	results, err := c.SearchMemory(within(t), graf.MemorySearch{
		Text: "What is a report of the resources of a task?", Tags: []string{tag}, Kinds: []graf.MemoryKind{graf.MemoryKindOutcome},
	})
	must(t, err)
	if len(results.Results) != 1 || !strings.Contains(results.Results[0].Snippet, "files in GRAF_MANIFESTS_DIR") {
		t.Errorf("remembered is %+v", results.Results)
	}
}
