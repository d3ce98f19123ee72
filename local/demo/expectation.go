package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/graf-run/graf/shared/api"
)

// expectation is what must come of a task.
type expectation struct {
	limit    string // the memory limit that it sets
	attempts int    // that it takes
	failure  string // a part of the reason of the first attempt's failure
	taught   bool   // whether it must be given a memory of the first task
	followed bool   // and say that it followed it
}

// check tells all that did not come out as expected.
func (e expectation) check(ctx context.Context, c *client, o outcome, earlier []outcome) error {
	problems := []error{e.checkTask(o.task), e.checkFailure(o)}
	if e.taught {
		problems = append(problems, e.checkTaught(ctx, c, o, earlier))
	}
	return errors.Join(problems...)
}

func (e expectation) checkTask(task api.Task) error {
	var problems []error
	expect := func(holds bool, format string, arguments ...any) {
		if !holds {
			problems = append(problems, fmt.Errorf(format, arguments...))
		}
	}
	reason := ""
	if task.Failure != nil {
		reason = ": " + task.Failure.Reason
	}
	expect(task.Status == api.TaskStatusSucceeded, "it ended as %s%s", task.Status, reason)
	expect(task.Attempt == e.attempts, "it took %d attempts, not %d", task.Attempt, e.attempts)
	expect(announced(task) == 1, "it has %d verified artifacts, not 1", announced(task))
	expect(task.Diff != nil && strings.Contains(task.Diff.Unified, "+            memory: "+e.limit+"\n"),
		"its diff does not add the memory limit %s", e.limit)
	return errors.Join(problems...)
}

// announced counts the verified artifacts that agents announced: logs are Graf's own.
func announced(task api.Task) int {
	n := 0
	for _, a := range task.Artifacts {
		if a.Source != api.ArtifactSourceGraf {
			n++
		}
	}
	return n
}

// checkFailure checks that the first attempt failed as expected and that the
// second was told so: its agent can know it from its prompt only.
func (e expectation) checkFailure(o outcome) error {
	if e.failure == "" {
		return nil
	}
	if len(o.task.Attempts) == 0 || o.task.Attempts[0].Failure == nil ||
		!strings.Contains(o.task.Attempts[0].Failure.Reason, e.failure) {
		return fmt.Errorf("its first attempt did not fail because %q", e.failure)
	}
	if !o.saidIn(2, e.failure) {
		return fmt.Errorf("its second attempt does not say that it knows of %q", e.failure)
	}
	return nil
}

// checkTaught checks that the prompt had a memory of the first task, and that
// the agent followed a memory out of its prompt. Where the demo has run before
// on the same data, equal memories of an earlier run may stand in their place:
// a text is recalled once, however many tasks had it.
func (e expectation) checkTaught(ctx context.Context, c *client, o outcome, earlier []outcome) error {
	taught, followed := false, false
	for _, m := range memoriesOf(o.task, o.task.Attempt) {
		same, err := isOrEquals(ctx, c, m.Source.TaskID.String(), earlier[0].task)
		if err != nil {
			return err
		}
		taught = taught || same
		followed = followed || o.saidIn(o.task.Attempt, "Followed memory "+m.MemoryID.String()+" ") && o.saidIn(o.task.Attempt, "from the prompt")
	}
	var problems []error
	if !taught {
		problems = append(problems, fmt.Errorf("none of the %d memories in its prompt is of the first task, %s",
			len(o.task.Memories), earlier[0].task.TaskID))
	}
	if e.followed && !followed {
		problems = append(problems, errors.New("its agent does not say that it followed a memory in its prompt"))
	}
	return errors.Join(problems...)
}

// isOrEquals says whether the id is the task's or that of one with the same prompt.
func isOrEquals(ctx context.Context, c *client, id string, task api.Task) (bool, error) {
	if id == task.TaskID.String() {
		return true, nil
	}
	other, err := c.task(ctx, id)
	return other.Prompt == task.Prompt, err
}

// saidIn says whether an agent reported these words in this attempt.
func (o outcome) saidIn(attempt int, words string) bool {
	for _, e := range o.events {
		if e.Attempt == attempt && strings.Contains(said(e), words) {
			return true
		}
	}
	return false
}
