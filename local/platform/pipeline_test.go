package platform

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/api"
)

// TestPipeline runs all that needs no fault on one platform.
func TestPipeline(t *testing.T) {
	t.Parallel()
	// Streams hear of the end by notification: a poll would come too late.
	s := startSystem(t, "GRAF_SLOTS_PER_NAMESPACE=1", "GRAF_STREAM_POLL=1m")
	for name, test := range map[string]func(*testing.T, *system){
		"a task is done and teaches the next":            testTeaches,
		"the diff is that of the last attempt":           testSecondAttempt,
		"a queued task is cancelled":                     testCancelQueued,
		"a token that an agent prints is not kept":       testPrintedToken,
		"an event submits a task":                        testEventSubmits,
		"an event of an unlisted source is dead":         testUnlistedSource,
		"events that come again and shuffled do no harm": testReplay,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

func testTeaches(t *testing.T, s *system) {
	first := s.submit(t, s.change("teacher", "The teacher pods were OOM-killed twice this week: give their container a memory limit.",
		"512Mi", "", "", "--reason", "Without a limit one pod can take the memory of its whole node.",
		"--lesson", "resources.limits.memory=512Mi, five times the request, leaves room for a burst."))
	live := s.stream(t, first.TaskID)
	task := s.awaitStatus(t, first.TaskID, api.TaskStatusSucceeded)
	checkDone(t, task)
	checkEvents(t, live, s.pages(t, first.TaskID))
	checkDownload(t, task.Artifacts[0])
	s.await(t, first.TaskID, "has all its vectors", func(task api.Task) bool {
		e := task.Embeddings
		return !slices.ContainsFunc([]api.EmbeddingState{e.Prompt, e.Before, e.After, e.Diff, e.Events},
			func(state api.EmbeddingState) bool { return state != api.EmbeddingStateReady })
	})

	second := s.submit(t, s.change("pupil", "Nothing stops the pupil pods from eating all the RAM of a node. Cap what one may use.",
		"512Mi", "", ""))
	task = s.awaitStatus(t, second.TaskID, api.TaskStatusSucceeded)
	if task.Recall == nil || task.Recall.Mode != api.RecallModeHybrid {
		t.Errorf("recall was %+v, not by vectors and text", task.Recall)
	}
	at := slices.IndexFunc(task.Memories, func(m api.RecalledMemory) bool { return m.Source.TaskID == first.TaskID })
	if at < 0 {
		t.Fatalf("the first task is not among the memories: %+v", task.Memories)
	}
	prompt, err := os.ReadFile(s.note("pupil.prompt"))
	must(t, err)
	for _, part := range []string{"Cap what one may use.", first.TaskID.String(), "512Mi"} {
		if !strings.Contains(string(prompt), part) {
			t.Errorf("the second task's prompt does not say %q:\n%s", part, prompt)
		}
	}
}

// checkDone fails unless the task shows all that came of it.
func checkDone(t *testing.T, task api.Task) {
	t.Helper()
	if len(task.Artifacts) != 1 || task.Artifacts[0].Name != "deployment-teacher.yaml" {
		t.Fatalf("artifacts: %+v", task.Artifacts)
	}
	if task.Diff == nil || !strings.HasPrefix(task.Diff.Digest, "sha256:") || !strings.Contains(task.Diff.Unified, "512Mi") {
		t.Errorf("diff: %+v", task.Diff)
	}
	var types []api.SnapshotType
	for _, snapshot := range task.Snapshots {
		types = append(types, snapshot.Type)
	}
	if !slices.Equal(types, []api.SnapshotType{api.SnapshotTypeBefore, api.SnapshotTypeAfter}) {
		t.Errorf("snapshots: %v", types)
	}
	if task.Execution == nil || task.Execution.Kind != "Job" || task.Execution.UID == "" {
		t.Errorf("execution: %+v", task.Execution)
	}
	if len(task.Attempts) != 1 || task.Attempts[0].ExitCode == nil || *task.Attempts[0].ExitCode != 0 {
		t.Errorf("attempts: %+v", task.Attempts)
	}
	if task.Failure != nil {
		t.Errorf("failure: %+v", task.Failure)
	}
	if task.QueuedAt == nil || task.LaunchingAt == nil || task.StartedAt == nil || task.FinalizingAt == nil || task.FinishedAt == nil {
		t.Errorf("a time of %+v is missing", task)
	}
}

// checkEvents fails unless live and paged events are the same and complete.
func checkEvents(t *testing.T, live, paged []api.TaskEvent) {
	t.Helper()
	var types []api.EventType
	for i, event := range live {
		types = append(types, event.EventType)
		if event.Sequence != int64(i+1) {
			t.Errorf("event %d has the sequence number %d", i+1, event.Sequence)
		}
	}
	want := []api.EventType{
		api.EventTypeStarted, api.EventTypeProgress, api.EventTypeArtifact, api.EventTypeSnapshot, api.EventTypeCompleted,
	}
	if !slices.Equal(types, want) {
		t.Errorf("live events are %v, not %v", types, want)
	}
	if !slices.EqualFunc(live, paged, func(a, b api.TaskEvent) bool { return a.EventID == b.EventID && a.Sequence == b.Sequence }) {
		t.Errorf("live events are\n%+v, in pages\n%+v", live, paged)
	}
}

func checkDownload(t *testing.T, artifact api.Artifact) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t), http.MethodGet, artifact.DownloadURL, nil)
	must(t, err)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	must(t, err)
	sum := sha256.Sum256(data)
	if response.StatusCode != http.StatusOK || hex.EncodeToString(sum[:]) != artifact.Sha256 || int64(len(data)) != artifact.SizeBytes {
		t.Errorf("download: %s, %d bytes with SHA-256 %x; announced were %+v", response.Status, len(data), sum, artifact)
	}
	return data
}

func testSecondAttempt(t *testing.T, s *system) {
	submission := s.change("stubborn", "Cut the memory ceiling of the stubborn pods to 32Mi.", "32Mi", "", "", "--heed-failure")
	submission.MaxAttempts = new(2)
	created := s.submit(t, submission)
	task := s.awaitStatus(t, created.TaskID, api.TaskStatusSucceeded)
	if len(task.Attempts) != 2 {
		t.Errorf("attempts: %+v", task.Attempts)
	}
	if task.Diff == nil || !strings.Contains(task.Diff.Unified, "memory: 100Mi") {
		t.Errorf("diff: %+v", task.Diff)
	}
}

func testCancelQueued(t *testing.T, s *system) {
	target := []api.ResourceReference{{APIVersion: "v1", Kind: "ConfigMap", Namespace: "one-at-a-time", Name: "a"}}
	ahead := shell("Hold the only slot of the namespace.", waitForGate, "GATE", s.note("queued.gate"))
	behind := shell("Wait for the slot.", "true")
	ahead.TargetResources, behind.TargetResources = target, target
	holder := s.submit(t, ahead)
	s.awaitStatus(t, holder.TaskID, api.TaskStatusRunning)
	waiting := s.submit(t, behind)
	s.cancel(t, waiting.TaskID)
	task := s.awaitStatus(t, waiting.TaskID, api.TaskStatusCancelled)
	if task.Attempt != 0 || task.Failure == nil || task.Failure.Class != api.FailureClassCancelled {
		t.Errorf("attempt %d, failure %+v", task.Attempt, task.Failure)
	}
	touch(t, s.note("queued.gate"))
	s.awaitStatus(t, holder.TaskID, api.TaskStatusSucceeded)
}

// keptLog is what Graf has kept of what the last attempt wrote.
func (s *system) keptLog(t *testing.T, task api.Task) string {
	t.Helper()
	at := slices.IndexFunc(task.Artifacts, func(a api.Artifact) bool {
		return a.Source == api.ArtifactSourceGraf && a.Attempt == task.Attempt
	})
	if at < 0 {
		t.Fatalf("no log is kept: %+v", task.Artifacts)
	}
	return string(checkDownload(t, task.Artifacts[at]))
}

func testPrintedToken(t *testing.T, s *system) {
	created := s.submit(t, shell("Print what is secret.",
		`printf '%s\n' "$GRAF_CALLBACK_TOKEN" >> "$NOTE.tokens"; echo "the token is $GRAF_CALLBACK_TOKEN"; exit 7`, "NOTE", s.note("printed")))
	task := s.awaitStatus(t, created.TaskID, api.TaskStatusFailed)
	if task.Failure == nil || !strings.Contains(task.Failure.Reason, "the token is") {
		t.Fatalf("the reason does not quote the log: %+v", task.Failure)
	}
	log := s.keptLog(t, task)
	if want := "the token is [redacted]\n"; log != want {
		t.Errorf("the log is %q, want %q", log, want)
	}
	for _, token := range s.allTokens(t) {
		if strings.Contains(task.Failure.Reason, token) || strings.Contains(log, token) {
			t.Errorf("the reason or the log has a token in clear: %s", task.Failure.Reason)
		}
	}
}
