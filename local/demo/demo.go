// Package demo runs Graf's main job end to end on real input, and shows it as it
// happens: a task teaches, a second one on another resource is given what the
// first taught, and a third fails once and is told why before it succeeds.
//
// It uses the public HTTP API as any user would, and needs nothing else of Graf.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
)

// taskTimeout bounds one task, from its submission until it is remembered.
const taskTimeout = 3 * time.Minute

// Config says where Graf is and how to show what it does.
type Config struct {
	// URL is the base URL of the HTTP API, Token a caller's token.
	URL, Token string
	// Deployments are the input, as LoadDeployments gives them.
	Deployments Deployments
	// Agent is the kind of agent; "" is the example agent, which needs no language
	// model. Model is the model of one that does; "" is its own choice.
	Agent, Model string
	// Out gets lines for people.
	Out io.Writer
	// Colour says whether Out shows ANSI colours.
	Colour bool
}

// Result is what came of the run.
type Result struct {
	Tasks []TaskResult `json:"tasks"`
	// DurationMs is the time from the first submission until the last task was
	// remembered, in milliseconds.
	DurationMs int64 `json:"durationMs"`
}

// TaskResult is what came of one task.
type TaskResult struct {
	TaskID     uuid.UUID      `json:"taskId"`
	Status     api.TaskStatus `json:"status"`
	Events     int            `json:"events"`     // that its agents reported
	Artifacts  int            `json:"artifacts"`  // verified ones that the agent announced
	DiffDigest string         `json:"diffDigest"` // "sha256:" and 64 hexadecimal digits
	MemoryUsed int            `json:"memoryUsed"` // memories in its last prompt
}

// outcome is a task at its end, with all that its agents reported.
type outcome struct {
	task   api.Task
	events []api.TaskEvent
}

// Run submits the tasks one after the other and follows each to its end. It
// fails at the first that does not end as it should.
func Run(ctx context.Context, config Config) (Result, error) {
	c, p := newClient(config.URL, config.Token), newPrinter(config.Out, config.Colour)
	began := time.Now()
	var result Result
	var ended []outcome
	for i, j := range config.jobs() {
		o, err := runJob(ctx, c, p, config.Deployments, j, i+1, ended)
		if err != nil {
			return Result{}, fmt.Errorf("task %d, %s: %w", i+1, j.title, err)
		}
		ended = append(ended, o)
		result.Tasks = append(result.Tasks, o.result())
	}
	result.DurationMs = time.Since(began).Milliseconds()
	return result, nil
}

func runJob(ctx context.Context, c *client, p *printer, deployments Deployments, j job, number int, earlier []outcome) (outcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, taskTimeout, fmt.Errorf("it did not end within %s", taskTimeout))
	defer cancel()
	deployment, err := deployments.get(j.deployment)
	if err != nil {
		return outcome{}, err
	}
	p.title(number, j.title, deployment.reference())
	p.prompt(j.prompt)
	created, err := c.submit(ctx, j.submission(deployment))
	if err != nil {
		return outcome{}, err
	}
	f := &follower{client: c, printer: p, created: created, earlier: earlier}
	o, err := f.follow(ctx)
	if err != nil {
		return outcome{}, withCause(ctx, err)
	}
	if o.task.Diff != nil {
		p.diff(o.task.Diff.Unified)
	}
	return o, j.check(ctx, c, o, earlier)
}

// withCause adds why the context ended, if it has and err does not say so.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}

func (o outcome) result() TaskResult {
	r := TaskResult{
		TaskID: o.task.TaskID, Status: o.task.Status, Events: len(o.events), Artifacts: announced(o.task),
		MemoryUsed: len(memoriesOf(o.task, o.task.Attempt)),
	}
	if o.task.Diff != nil {
		r.DiffDigest = o.task.Diff.Digest
	}
	return r
}

// memoriesOf are those that the prompt of this attempt was given, best first.
func memoriesOf(task api.Task, attempt int) []api.RecalledMemory {
	var memories []api.RecalledMemory
	for _, m := range task.Memories {
		if m.Attempt == attempt {
			memories = append(memories, m)
		}
	}
	return memories
}
