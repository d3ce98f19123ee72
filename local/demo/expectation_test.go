package demo

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
)

func TestExpectationTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	const failure = "32Mi is below 50Mi"
	e := expectation{limit: "50Mi", attempts: 2, failure: failure, taught: true, followed: true}
	for _, test := range []struct {
		name    string
		spoil   func(*outcome)
		problem string
	}{
		{"nothing", func(*outcome) {}, ""},
		{"status", func(o *outcome) {
			o.task.Status, o.task.Failure = api.TaskStatusFailed, &api.Failure{Reason: "exit code 3"}
		}, "it ended as failed: exit code 3"},
		{"attempts", func(o *outcome) { o.task.Attempt = 1 }, "it took 1 attempts, not 2"},
		{"artifacts", func(o *outcome) { o.task.Artifacts = nil }, "it has 0 verified artifacts, not 1"},
		{"no diff", func(o *outcome) { o.task.Diff = nil }, "does not add the memory limit 50Mi"},
		{"another limit", func(o *outcome) { o.task.Diff.Unified = "+            memory: 5Mi\n" }, "does not add the memory limit 50Mi"},
		{"no failure", func(o *outcome) { o.task.Attempts[0].Failure = nil }, "its first attempt did not fail because"},
		{"not told", func(o *outcome) { o.events[1].Content = text("I go on.") }, "its second attempt does not say that it knows"},
		{"no memories", func(o *outcome) { o.task.Memories = nil }, "none of the 0 memories in its prompt is of the first task"},
		{"memories of the first attempt", func(o *outcome) { o.task.Memories[0].Attempt = 1 }, "none of the 1 memories in its prompt"},
		{"another memory followed", func(o *outcome) { o.task.Memories[0].MemoryID = uuid.Nil }, "it followed a memory in its prompt"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o, earlier := goodOutcome(failure)
			test.spoil(&o)
			err := e.check(t.Context(), nil, o, []outcome{earlier})
			if test.problem == "" && err != nil {
				t.Errorf("error = %v, want none", err)
			}
			if test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
				t.Errorf("error = %v, want one with %q", err, test.problem)
			}
		})
	}
}

func goodOutcome(failure string) (o, earlier outcome) {
	taught, memory := uuid.New(), uuid.New()
	earlier.task.TaskID = taught
	o.task = api.Task{
		Status: api.TaskStatusSucceeded, Attempt: 2, Artifacts: make([]api.Artifact, 1),
		Diff:     &api.Diff{Unified: "-            memory: 200Mi\n+            memory: 50Mi\n"},
		Attempts: []api.Attempt{{Attempt: 1, Failure: &api.Failure{Reason: "the agent reported: " + failure}}, {Attempt: 2}},
		Memories: []api.RecalledMemory{{MemoryID: memory, Attempt: 2, Source: api.MemorySource{TaskID: taught}}},
	}
	o.events = []api.TaskEvent{
		{Attempt: 1, Content: text(failure)},
		{Attempt: 2, Content: text("Attempt 1 failed: " + failure)},
		{Attempt: 2, Content: text("Followed memory " + memory.String() + " (from the prompt).")},
	}
	return o, earlier
}

func text(words string) json.RawMessage {
	encoded, err := json.Marshal(words)
	if err != nil {
		panic(err)
	}
	return encoded
}
