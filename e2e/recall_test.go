//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/api"
)

// TestRecall has a second task take the value of its change from what the first
// one taught: its agent is given none.
func TestRecall(t *testing.T) {
	s := newSystem(t)
	teacher, pupil := "teacher-"+s.run, "pupil-"+s.run
	first := s.submit(t, s.setting(teacher, "The "+teacher+" pods were OOM-killed: give their container a memory limit.",
		"--set", limit+"=640Mi", "--reason", "Without a limit one "+teacher+" pod can take a node's memory.",
		"--lesson", "For "+teacher+" and its like: resources.limits.memory=640Mi leaves room for a burst."))
	s.awaitStatus(t, first.TaskID, api.TaskStatusSucceeded)
	s.await(t, first.TaskID, "has all its vectors", func(task api.Task) bool {
		return task.Embeddings.Events == api.EmbeddingStateReady && task.Embeddings.Diff == api.EmbeddingStateReady
	})

	second := s.submit(t, s.setting(pupil, "Nothing stops the "+pupil+" pods, which are like "+teacher+
		", from eating all the RAM of a node. Cap what one may use.", "--set", limit, "--value-from-memory"))
	task := s.awaitStatus(t, second.TaskID, api.TaskStatusSucceeded)
	if task.Recall == nil || task.Recall.Mode != api.RecallModeHybrid {
		t.Errorf("recall was %+v, not by vectors and text", task.Recall)
	}
	if !slices.ContainsFunc(task.Memories, func(m api.RecalledMemory) bool { return m.Source.TaskID == first.TaskID }) {
		t.Errorf("the first task is not among the memories: %+v", task.Memories)
	}
	if task.Diff == nil || !strings.Contains(task.Diff.Unified, "640Mi") {
		t.Errorf("the second task did not do as the first: %+v", task.Diff)
	}
}
