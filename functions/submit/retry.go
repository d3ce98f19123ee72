package submit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// Retry is a request to run an ended task again.
type Retry struct {
	// Task is the one to run again.
	Task uuid.UUID
	// Caller is who is answerable for the new task.
	Caller string
	// Key makes retrying idempotent for this caller; empty for another task each time.
	Key string
	// Force is whether a task that succeeded may be run again.
	Force bool
}

// Retrier runs ended tasks again.
type Retrier struct {
	pool      *pgxpool.Pool
	submitter *Submitter
	// operators may run the tasks of others again.
	operators auth.Operators
}

// Retry submits what was submitted for an ended task as a new task, which names it. Its errors are those of Submit,
// problem.ErrNotFound, problem.ErrForbidden for who is neither the task's caller nor an operator, and
// problem.ErrConflict for a task that goes on, or that succeeded unless it is forced.
func (r *Retrier) Retry(ctx context.Context, retry Retry) (Receipt, error) {
	task, err := query.New(r.pool).GetTask(ctx, retry.Task)
	if errors.Is(err, pgx.ErrNoRows) {
		return Receipt{}, errNoTask(retry.Task)
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("read task %s: %w", retry.Task, postgres.Classify(err))
	}
	if retry.Caller != task.Caller && !r.operators.Has(retry.Caller) { // the agent's environment, with its keys, comes along
		return Receipt{}, problem.ErrForbidden.With(
			"Task %s is that of another caller: only that one, or an operator (GRAF_OPERATORS), may run it again.", task.ID)
	}
	if err := retryable(task, retry.Force); err != nil {
		return Receipt{}, err
	}
	request, err := r.request(ctx, task)
	if err != nil {
		return Receipt{}, fmt.Errorf("read the submission of task %s: %w", task.ID, err)
	}
	return r.submitter.Submit(ctx, Submission{
		Caller: retry.Caller, Key: retry.Key, Request: request, IssueToken: true,
		// What stands for the values of Secrets is digests with this salt.
		RetryOf: &task.ID, salt: task.ManifestSalt,
	})
}

func retryable(task query.Task, force bool) error {
	switch {
	case task.FinishedAt == nil:
		return problem.ErrConflict.With("Task %s is %s: wait for its end, or cancel it, before you run it again.",
			task.ID, task.Status)
	case task.Status == string(api.TaskStatusSucceeded) && !force:
		return problem.ErrConflict.With("Task %s has succeeded: send force to run it again all the same.", task.ID)
	}
	return nil
}

// request is what was submitted for a task, as far as the policy and the new task go by it.
func (r *Retrier) request(ctx context.Context, task query.Task) (api.TaskSubmission, error) {
	request := api.TaskSubmission{
		Prompt: task.Prompt, Project: task.Project, OrchestrationMode: api.OrchestrationMode(task.OrchestrationMode),
		Priority: new(int(task.Priority)), TimeoutSeconds: new(int(task.TimeoutSeconds)),
		MaxAttempts: new(int(task.MaxAttempts)), Tags: task.Tags, Metadata: task.Metadata, Budget: budgetOf(task),
	}
	q := query.New(r.pool)
	toApply, err := q.GetAppliedManifests(ctx, task.ID)
	manifests := toApply.Manifests
	request.Apply = err == nil
	if errors.Is(err, pgx.ErrNoRows) {
		manifests, err = q.GetSubmittedManifests(ctx, task.ID)
	}
	switch {
	case err == nil:
		err = json.Unmarshal(manifests, &request.Manifests)
	case errors.Is(err, pgx.ErrNoRows):
		err = nil
	default:
		return api.TaskSubmission{}, postgres.Classify(err)
	}
	return request, errors.Join(err, json.Unmarshal(task.Agent, &request.Agent),
		json.Unmarshal(task.TargetResources, &request.TargetResources))
}

// retryDigest tells the retry of a task from a submission of the same, and from the retry of another.
func retryDigest(of uuid.UUID, request []byte) []byte {
	sum := sha256.Sum256(append(of[:], request...))
	return sum[:]
}
