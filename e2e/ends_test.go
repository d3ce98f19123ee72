//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/docstest"
)

// staleAfter is GRAF_STALE_AFTER of finalize: what ends sooner was not found by
// the sweep, but told by an event.
const staleAfter = 30 * time.Second

// TestEnds ends Jobs as no agent does: how those end is what TestModes is about.
func TestEnds(t *testing.T) {
	s := newSystem(t)
	t.Run("told by the ApiServerSource", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *system){
			"a Job is deleted from outside":                  testDeleted,
			"a Job is deleted as the runbook says":           testDeletedByRunbook,
			"a Job is deleted, and there is another attempt": testDeletedOnce,
			"a container runs out of memory":                 testOutOfMemory,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, s)
			})
		}
	})
	s.checkNothingLeft(t)
	// What is on its way to a Trigger that is taken away becomes a dead letter.
	t.Run("found by the tick", func(t *testing.T) { testUnheard(t, s) })
	s.awaitQuiet(t)
}

// mode is a submission of the tests' agent in one of its other modes.
func (s *system) mode(t *testing.T, name string) api.TaskSubmission {
	t.Helper()
	submission := s.working(t, "Agent that will "+name+".", "")
	submission.Agent.Command[1] = name
	return submission
}

// awaitPod waits until a pod of the task's attempt runs, and gives the task.
func (s *system) awaitPod(t *testing.T, id uuid.UUID) api.Task {
	t.Helper()
	eventually(t, "a pod of task "+id.String()+" runs", func() bool {
		for _, pod := range s.podsOf(t, graf, "graf.dev/task-id="+id.String()) {
			if phase, _, _ := nested(pod.Object, "status", "phase"); phase == "Running" {
				return true
			}
		}
		return false
	})
	return s.awaitStatus(t, id, api.TaskStatusRunning)
}

func (s *system) deleteJob(t *testing.T, task api.Task) time.Time {
	t.Helper()
	s.remove(t, jobs, task.Execution.Namespace, task.Execution.Name)
	return time.Now()
}

func checkFailure(t *testing.T, task api.Task, class api.FailureClass, words string) {
	t.Helper()
	if f := task.Failure; f == nil || f.Class != class || !strings.Contains(f.Reason, words) {
		t.Errorf("failure %+v, not %s with %q", f, class, words)
	}
}

func testDeleted(t *testing.T, s *system) {
	id := s.submit(t, s.mode(t, "hang")).TaskID
	s.checkDeleted(t, id, s.deleteJob(t, s.awaitPod(t, id)))
}

// checkDeleted fails unless the task has failed because its Job was deleted at a time, of which an event told.
func (s *system) checkDeleted(t *testing.T, id uuid.UUID, at time.Time) {
	t.Helper()
	task := s.awaitStatus(t, id, api.TaskStatusFailed)
	checkFailure(t, task, api.FailureClassInfrastructure, "deleted before it ended")
	if took := task.FinishedAt.Sub(at); took > staleAfter {
		t.Errorf("%v passed: no event told of it", took)
	}
}

// testDeletedByRunbook runs the commands of the runbook about stuck tasks that call kubectl, of which the last deletes the Job.
func testDeletedByRunbook(t *testing.T, s *system) {
	id := s.submit(t, s.mode(t, "hang")).TaskID
	s.awaitPod(t, id)
	var out string
	var at time.Time
	for _, b := range docstest.Blocks(t, "../docs/runbooks/stuck-task.md") {
		if !b.Has("kubectl") {
			continue
		}
		command := exec.CommandContext(within(t), "bash", "-eu", "-c", `kubectl() { ../cluster/kubectl.sh "$@"; }; `+b.Commands)
		command.Env = append(os.Environ(), "task="+id.String())
		at = time.Now()
		printed, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("line %d: %v\n%s", b.Line, err, printed)
		}
		out += string(printed)
	}
	job := regexp.QuoteMeta(id.String()) + `-1`
	for _, want := range []string{`job\.batch/codex-` + job, `pod/codex-` + job + `.* Running`, `job\.batch "codex-` + job + `".* deleted`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the commands print no %s:\n%s", want, out)
		}
	}
	s.checkDeleted(t, id, at)
}

func testDeletedOnce(t *testing.T, s *system) {
	gates := s.newGates(t)
	submission := s.working(t, "Go on after the first Job is deleted.", gates.at("go"))
	submission.MaxAttempts = new(2)
	id := s.submit(t, submission).TaskID
	s.deleteJob(t, s.awaitPod(t, id))
	gates.unlock("go")
	task := s.awaitStatus(t, id, api.TaskStatusSucceeded)
	if len(task.Attempts) != 2 || task.Attempts[0].Failure == nil || task.Attempts[0].Failure.Class != api.FailureClassInfrastructure {
		t.Errorf("attempts: %+v", task.Attempts)
	}
}

func testOutOfMemory(t *testing.T, s *system) {
	id := s.submit(t, s.mode(t, "grow")).TaskID
	task := s.awaitStatus(t, id, api.TaskStatusFailed)
	checkFailure(t, task, api.FailureClassInfrastructure, "ran out of memory")
	if took := task.FinishedAt.Sub(*task.StartedAt); took > staleAfter {
		t.Errorf("%v passed: no event told of it", took)
	}
}

// testUnheard takes away the Trigger that brings finalize the changes of Jobs.
func testUnheard(t *testing.T, s *system) {
	id := s.submit(t, s.mode(t, "hang")).TaskID
	task := s.awaitPod(t, id)
	s.withoutTrigger(t, "graf-finalize-job-changed")
	began := s.deleteJob(t, task)
	task = s.awaitStatus(t, id, api.TaskStatusFailed)
	checkFailure(t, task, api.FailureClassInfrastructure, "deleted before it ended")
	t.Logf("found %v after the deletion", task.FinishedAt.Sub(began).Round(time.Second))
}

// withoutTrigger removes one of Graf's Triggers until the test ends.
func (s *system) withoutTrigger(t *testing.T, name string) {
	t.Helper()
	client := s.cluster.Resource(triggers).Namespace(graf)
	old, err := client.Get(within(t), name, metav1.GetOptions{})
	must(t, err)
	t.Cleanup(func() {
		again := &unstructured.Unstructured{Object: object{
			"apiVersion": old.GetAPIVersion(), "kind": old.GetKind(), "spec": old.Object["spec"],
			"metadata": object{"name": name, "namespace": graf},
		}}
		again.SetLabels(old.GetLabels())
		_, err := client.Create(within(t), again, metav1.CreateOptions{})
		if err != nil {
			t.Errorf("%v: run make deploy, which brings Trigger %s back", err, name)
			return
		}
		s.awaitReady(t, triggers, graf, name)
	})
	s.remove(t, triggers, graf, name)
	s.awaitUnsubscribed(t, name)
}
