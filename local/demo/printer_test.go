package demo

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestPrinter(t *testing.T) {
	t.Parallel()
	for name, colour := range map[string]bool{"plain.txt": false, "colour.txt": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			printSample(newPrinter(&out, colour))
			golden(t, name, out.Bytes())
			for line := range strings.Lines(out.String()) {
				if !colour && len([]rune(line)) > lineWidth+1 {
					t.Errorf("wider than %d: %s", lineWidth, line)
				}
			}
		})
	}
}

func printSample(p *printer) {
	p.title(2, "a task", api.ResourceReference{Kind: "Deployment", Namespace: "shop", Name: "web"})
	p.prompt(strings.TrimSpace(strings.Repeat("Cap what it may use. ", 8)))
	p.stage(0, "queued", "task 01985c1e-0000-7000-8000-000000000002")
	how := &api.Recall{Mode: api.RecallModeHybrid}
	p.recall(41*time.Millisecond, how, nil, sampleName)
	p.recall(42*time.Millisecond, how, []api.RecalledMemory{
		{Score: 0.912, Snippet: "Asked: x\nResult: succeeded.\nChanged: container web memory limit added: 512Mi\n" +
			"The agent's own account: " + strings.Repeat("It was killed. ", 30) + "\nMeasure first.", Source: api.MemorySource{Kind: "outcome"}},
		{Score: 0.5, Snippet: "Deployment shop/web: replicas 1 → 2\n\n--- a\n+++ b\n", Source: api.MemorySource{Kind: "diff"}},
	}, sampleName)
	p.recall(43*time.Millisecond, &api.Recall{Mode: api.RecallModeTextOnly, Reason: "no vector in time"},
		[]api.RecalledMemory{{Score: 0.25, Snippet: "one", Source: api.MemorySource{Kind: "prompt"}}}, sampleName)
	p.stage(55*time.Millisecond, "launched", "Job graf/codex-1")
	p.stage(1234*time.Millisecond, "progress", strings.Repeat("word ", 40))
	p.stage(2*time.Second, "retry", "attempt 1 of 2 failed")
	p.end(3*time.Second, "succeeded", "attempt 2 of 2", true)
	p.end(3*time.Second, "timed_out", "too slow", false)
	p.diff("--- before/web\n+++ after/web\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n")
}

func sampleName(source api.MemorySource) string { return string(source.Kind) + " of task 1" }

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("output is not as in %s (go test -update writes it):\n%s", file, got)
	}
}

func TestEventText(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("ab", 32)
	for want, event := range map[string]api.TaskEvent{
		"Read it.":            {Content: json.RawMessage(`"Read it."`)},
		"Did it.\nLesson: No": {Content: json.RawMessage(`{"summary":"Did it.","lesson":"No"}`)},
		"Did it.":             {Content: json.RawMessage(`{"summary":"Did it."}`)},
		"a.yaml, 7 bytes, sha256 abababababab…": {
			Artifacts: []api.ArtifactDeclaration{{Name: "a.yaml", SizeBytes: 7, Sha256: sum}},
		},
		"the resources after the run: 1": {Snapshot: &api.SnapshotReport{Type: "after", Manifests: []api.Manifest{{}}}},
	} {
		if got := eventText(event); got != want {
			t.Errorf("text of %s = %q, want %q", event.Content, got, want)
		}
	}
}

func TestResultIsTheDocumentedJSON(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("01985c1e-0000-7000-8000-000000000001")
	o := outcome{
		task: api.Task{
			TaskID: id, Status: api.TaskStatusSucceeded, Attempt: 2, Artifacts: make([]api.Artifact, 1),
			Diff: &api.Diff{Digest: "sha256:00"}, Memories: []api.RecalledMemory{{Attempt: 1}, {Attempt: 2}, {Attempt: 2}},
		},
		events: make([]api.TaskEvent, 7),
	}
	got, err := json.Marshal(Result{Tasks: []TaskResult{o.result()}, DurationMs: 12})
	const want = `{"tasks":[{"taskId":"01985c1e-0000-7000-8000-000000000001","status":"succeeded","events":7,"artifacts":1,` +
		`"diffDigest":"sha256:00","memoryUsed":2}],"durationMs":12}`
	if err != nil || string(got) != want {
		t.Errorf("result = %s, %v\nwant %s", got, err, want)
	}
}
