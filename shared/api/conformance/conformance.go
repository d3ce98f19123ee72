package conformance

import (
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
)

// ending is a case: what an agent does, and all that its client sees of it.
type ending struct {
	// agent are the arguments of e2e/cmd/e2e-agent.
	agent []string
	// command is run instead of it.
	command []string
	// maxAttempts of the submission; 0 is one.
	maxAttempts int
	// seconds that an attempt may take; 0 are enough for all.
	seconds int
	// ofJobs says that a mode whose attempts are Workflows need not do so.
	ofJobs bool
	// meddle is what the client does once it has submitted.
	meddle func(*testing.T, *client, uuid.UUID)

	status api.TaskStatus
	// attempts that are made, oldest first.
	attempts []attempt
	// events of all attempts.
	events []api.EventType
}

// attempt is how one ends.
type attempt struct {
	// exit is the code that its container ended with; none if it was stopped.
	exit *int
	// class of the failure; "" if it did not fail.
	class api.FailureClass
	// words that the failure's reason has.
	words []string
	// log is what the kept log of its container says; "" is not looked for.
	log string
}

// seconds that are too few for an agent that never ends; the API takes no fewer.
const seconds = 10

var (
	started   = api.EventTypeStarted
	progress  = api.EventTypeProgress
	completed = api.EventTypeCompleted
	failed    = api.EventTypeFailed
)

// endings are the cases by name. What they quote are the words of e2e/cmd/e2e-agent.
var endings = map[string]ending{
	"success": {
		agent: []string{"contract", literal}, status: api.TaskStatusSucceeded,
		attempts: []attempt{{exit: new(0)}}, events: []api.EventType{started, completed},
	},
	"failure by report and exit code": {
		agent: []string{"fail", "3"}, status: api.TaskStatusFailed,
		attempts: []attempt{{exit: new(3), class: api.FailureClassAgent, words: []string{
			"the agent reported: The change was refused.", "exited with code 3;", "the end of its log:", "no way to go on",
		}, log: "no way to go on"}},
		events: []api.EventType{started, failed},
	},
	"failure by report alone": {
		agent: []string{"fail", "0"}, status: api.TaskStatusFailed,
		attempts: []attempt{{exit: new(0), class: api.FailureClassAgent, words: []string{
			"the agent reported: The change was refused.",
		}, log: "no way to go on"}},
		events: []api.EventType{started, failed},
	},
	"retry with the reason": {
		agent: []string{"learn"}, maxAttempts: 2, status: api.TaskStatusSucceeded,
		attempts: []attempt{
			{exit: new(1), class: api.FailureClassAgent, words: []string{
				"exited with code 1 without a word; the end of its log:", "nobody told the first attempt",
			}, log: "nobody told the first attempt"},
			{exit: new(0)},
		},
		events: []api.EventType{started, completed},
	},
	"timeout": {
		agent: []string{"deaf"}, seconds: seconds, maxAttempts: 3, status: api.TaskStatusTimedOut,
		attempts: []attempt{{class: api.FailureClassTimeout, words: []string{"did not end within 10 s and was stopped"},
			log: "deaf"}},
	},
	"cancellation": {
		agent: []string{"begin"}, maxAttempts: 3, meddle: cancelRunning, status: api.TaskStatusCancelled,
		attempts: []attempt{{class: api.FailureClassCancelled, words: []string{"cancelled by ", cancelReason}}},
		events:   []api.EventType{started},
	},
	"cancellation, and a last word": {
		agent: []string{"leave"}, ofJobs: true, meddle: cancelRunning, status: api.TaskStatusCancelled,
		attempts: []attempt{{class: api.FailureClassCancelled, words: []string{"cancelled by ", cancelReason}}},
		events:   []api.EventType{started, progress},
	},
	"silent death by a signal": {
		agent: []string{"die"}, status: api.TaskStatusFailed,
		attempts: []attempt{{exit: new(137), class: api.FailureClassAgent, words: []string{
			"was killed by signal 9 without a word",
		}}},
	},
	"silent death by an exit": {
		agent: []string{"unheard-of"}, status: api.TaskStatusFailed,
		attempts: []attempt{{exit: new(1), class: api.FailureClassAgent, words: []string{
			"exited with code 1 without a word; the end of its log:", "unknown: unheard-of",
		}}},
	},
	"no such program": {
		command: []string{"/no/such/program"}, status: api.TaskStatusFailed,
		attempts: []attempt{{exit: new(127), class: api.FailureClassAgent, words: []string{
			"the agent reported: the agent could not be started: ", "no such file or directory",
		}}},
	},
	"callbacks lost, success": {
		agent: []string{"unheard", "0"}, status: api.TaskStatusSucceeded, attempts: []attempt{{exit: new(0)}},
	},
	"callbacks lost, failure": {
		agent: []string{"unheard", "4"}, status: api.TaskStatusFailed,
		attempts: []attempt{{exit: new(4), class: api.FailureClassAgent, words: []string{"exited with code 4 without a word"}}},
	},
	"duplicate callbacks": {
		agent: []string{"repeat"}, status: api.TaskStatusSucceeded,
		attempts: []attempt{{exit: new(0)}}, events: []api.EventType{started, progress, completed},
	},
}

// Run runs every case against the target, all of them at a time.
func Run(t *testing.T, target Target) {
	t.Helper()
	for name, want := range endings {
		if want.ofJobs && target.Kind != "Job" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &client{Target: target}
			id := c.submit(t, submission(t, name, target, want))
			live := c.follow(t.Context(), id)
			if want.meddle != nil {
				want.meddle(t, c, id)
			}
			task := c.awaitEnd(t, id)
			checkTask(t, target, want, task)
			checkTimes(t, task)
			c.checkLogs(t, want, task)
			checkEvents(t, want, task, <-live, c.pages(t, id))
			c.checkRemembered(t, id)
		})
	}
}

// cancelReason is the client's own.
const cancelReason = "not needed any more"

// cancelRunning cancels the task twice, which is no error, once its agent has begun to work.
func cancelRunning(t *testing.T, c *client, id uuid.UUID) {
	t.Helper()
	c.await(t, id, "is running", func(task api.Task) bool { return task.Status == api.TaskStatusRunning })
	c.eventually(t, "its agent reports that it began", func() bool { return len(c.pages(t, id)) > 0 })
	for range 2 {
		c.cancel(t, id)
	}
}
