//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/eventtest"
)

// TestColdStart takes a task through all functions, which have no pod when it is
// submitted and none when all is done.
func TestColdStart(t *testing.T) {
	s := newSystem(t)
	events := s.subscribe(t, "recorder", object{})
	s.awaitZero(t)
	scale := s.watchScale(t)

	name := "cold-" + s.run
	began := time.Now()
	created := s.submit(t, s.setting(name, "The "+name+" pods were OOM-killed twice: give their container a memory limit.",
		"--set", limit+"=512Mi", "--reason", "Without a limit one pod can take a node's memory.", "--lesson", "Five times the request is enough."))
	t.Logf("submitted from zero pods in %v", time.Since(began).Round(time.Millisecond))
	live, err := s.follow(within(t), created.TaskID)
	must(t, err)
	task := s.awaitStatus(t, created.TaskID, api.TaskStatusSucceeded)
	t.Logf("done %v after the submission", time.Since(began).Round(time.Millisecond))
	s.checkJob(t, task)
	checkDone(t, task)
	checkStream(t, live)
	s.await(t, created.TaskID, "has all its vectors", func(task api.Task) bool {
		e := task.Embeddings
		return !slices.ContainsFunc([]api.EmbeddingState{e.Prompt, e.Before, e.After, e.Diff, e.Events},
			func(state api.EmbeddingState) bool { return state != api.EmbeddingStateReady })
	})
	s.recall(t, created.TaskID) // wakes the last of them
	checkRecorded(t, events, created.TaskID.String())

	seen := scale.seen()
	for _, name := range functionNames {
		if seen[name] == 0 {
			t.Errorf("function %s never had a pod", name)
		}
	}
	s.checkNothingLeft(t)
	idle := time.Now()
	s.awaitZero(t)
	t.Logf("all functions at zero %v later", time.Since(idle).Round(time.Second))
}

// checkJob fails unless a Job of Kubernetes ran the agent.
func (s *system) checkJob(t *testing.T, task api.Task) {
	t.Helper()
	if task.Execution == nil || task.Execution.Kind != "Job" {
		t.Fatalf("execution: %+v", task.Execution)
	}
	job, err := s.cluster.Resource(jobs).Namespace(task.Execution.Namespace).Get(within(t), task.Execution.Name, metav1.GetOptions{})
	must(t, err)
	if string(job.GetUID()) != task.Execution.UID {
		t.Errorf("the Job's uid is %s, the task says %s", job.GetUID(), task.Execution.UID)
	}
	if succeeded, _, _ := nested(job.Object, "status", "succeeded"); succeeded != "1" {
		t.Errorf("%s pods of the Job succeeded", succeeded)
	}
}

// checkDone fails unless the task shows all that came of it.
func checkDone(t *testing.T, task api.Task) {
	t.Helper()
	if task.Diff == nil || !strings.Contains(task.Diff.Unified, "512Mi") {
		t.Errorf("diff: %+v", task.Diff)
	}
	var types []api.SnapshotType
	for _, snapshot := range task.Snapshots {
		types = append(types, snapshot.Type)
	}
	if !slices.Equal(types, []api.SnapshotType{api.SnapshotTypeBefore, api.SnapshotTypeAfter}) {
		t.Errorf("snapshots: %v", types)
	}
	if len(task.Attempts) != 1 || task.Attempts[0].ExitCode == nil || *task.Attempts[0].ExitCode != 0 || task.Failure != nil {
		t.Errorf("attempts: %+v, failure: %+v", task.Attempts, task.Failure)
	}
	if len(task.Artifacts) != 1 {
		t.Fatalf("artifacts: %+v", task.Artifacts)
	}
	checkDownload(t, task.Artifacts[0])
}

// checkDownload fails unless the artifact is what its agent announced.
func checkDownload(t *testing.T, artifact api.Artifact) {
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
}

// checkStream fails unless the stream had all that the agent reported.
func checkStream(t *testing.T, live []api.TaskEvent) {
	t.Helper()
	var types []api.EventType
	for _, e := range live {
		if e.EventType != api.EventTypeResource { // which finalize adds: that the pod runs
			types = append(types, e.EventType)
		}
	}
	want := []api.EventType{
		api.EventTypeStarted, api.EventTypeProgress, api.EventTypeArtifact, api.EventTypeSnapshot, api.EventTypeCompleted,
	}
	if !slices.Equal(types, want) {
		t.Errorf("the stream had %v, not %v", types, want)
	}
}

// checkRecorded waits until the Broker has passed on the events of a task's whole
// way, each as its schema says.
func checkRecorded(t *testing.T, events *subscriber, task string) {
	t.Helper()
	for _, typ := range []string{
		event.TypeTaskSubmitted, event.TypeTaskStarted, event.TypeTaskReported, event.TypeTaskFinished,
	} {
		var found []delivered
		eventually(t, "an event "+typ+" of task "+task, func() bool {
			found = slices.DeleteFunc(events.about(task), func(e delivered) bool { return e.Type() != typ })
			return len(found) > 0
		})
		for _, e := range found {
			if err := eventtest.Check(e.Event); err != nil {
				t.Error(err)
			}
		}
		if status := found[0].Extensions()[event.ExtensionTaskStatus]; typ == event.TypeTaskFinished && status != "succeeded" {
			t.Errorf("the finished event says %v", status)
		}
	}
}
