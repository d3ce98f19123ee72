package finalize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/budget"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgres/query"
)

// verifyTime bounds the reading of one artifact. It is less than a delivery may take.
const verifyTime = 15 * time.Second

// evidence is what there is to know of how an attempt ended.
type evidence struct {
	observation kube.Observation
	// termination is the container's end; only of executions that failed, and
	// only while their pod exists.
	termination kube.Termination
	exitCode    *int32
	// report is the agent's last word: "completed", "failed" or "" for none.
	report string
	// said is what the agent said with it.
	said string
	// failure is what the agent says that it failed of; its class is "" where it says nothing.
	failure reportedFailure
	// overspent says which part of the task's budget is used up; "" for none.
	overspent string
	diff      manifest.Diff
	// after are the resources as the agent left them, if it reported them.
	after []manifest.Object
	// failures are how earlier attempts failed.
	failures []query.ListFailuresRow
}

func (f *Finalizer) gather(ctx context.Context, task query.Task, o kube.Observation) (evidence, error) {
	q := query.New(f.pool)
	attempt, err := q.GetAttempt(ctx, task.ID, task.Attempt)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return evidence{}, fmt.Errorf("read attempt %d: %w", task.Attempt, err)
	}
	end, err := known(attempt, o)
	if err != nil {
		return evidence{}, err
	}
	found := evidence{observation: end.Observation}
	if err := f.readTermination(ctx, q, &found, end, task); err != nil {
		return evidence{}, err
	}
	if err := f.keepLog(ctx, task, f.executionOf(task, attempt, end.Observation)); err != nil {
		return evidence{}, err
	}
	if err := found.readReport(ctx, q, task); err != nil {
		return evidence{}, err
	}
	if err := found.readUsage(ctx, q, task); err != nil {
		return evidence{}, err
	}
	if err := f.readAfter(ctx, q, task); err != nil {
		return evidence{}, err
	}
	if err := found.readChange(ctx, q, task); err != nil {
		return evidence{}, err
	}
	if err := f.settleArtifacts(ctx, q, task); err != nil {
		return evidence{}, err
	}
	failures, err := q.ListFailures(ctx, task.ID)
	if err != nil {
		return evidence{}, fmt.Errorf("read earlier failures: %w", err)
	}
	found.failures = failures
	return found, nil
}

// readTermination reads how the container ended, and notes it, because an object
// store that is away may hold up the end for longer than the pod exists.
func (f *Finalizer) readTermination(
	ctx context.Context, q *query.Queries, e *evidence, end executionEnd, task query.Task,
) error {
	switch e.observation.Phase {
	case kube.PhaseSucceeded:
		zero := int32(0)
		e.exitCode = &zero
		return nil
	case kube.PhaseFailed:
	default:
		return nil
	}
	if e.observation.Reason == reasonGone {
		return nil
	}
	if end.Termination == nil {
		termination, err := f.cluster.Termination(ctx, e.observation.Execution)
		switch {
		case errors.Is(err, kube.ErrNotFound):
			return nil
		case err != nil:
			return fmt.Errorf("read how the container ended: %w", err)
		}
		end.Termination = &termination
		if err := noteEnd(ctx, q, end, task); err != nil {
			return err
		}
	}
	e.termination = *end.Termination
	if e.termination.ExitCode != kube.ExitUnknown {
		code := int32(e.termination.ExitCode) //nolint:gosec // it is an int32 in Kubernetes
		e.exitCode = &code
	}
	return nil
}

func noteEnd(ctx context.Context, q *query.Queries, end executionEnd, task query.Task) error {
	encoded, err := end.encode()
	if err != nil {
		return err
	}
	if err := q.NoteExecutionEnd(ctx, encoded, task.ID, task.Attempt); err != nil {
		return fmt.Errorf("note how the container ended: %w", err)
	}
	return nil
}

func (e *evidence) readReport(ctx context.Context, q *query.Queries, task query.Task) error {
	row, err := q.GetTerminalReport(ctx, task.ID, task.Attempt)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the agent's report: %w", err)
	}
	e.report, e.said = row.EventType, memory.ContentText(row.Content)
	if e.report == "failed" {
		e.failure = readFailure(row.Content)
	}
	return nil
}

// reportedFailure is what the content of a failed event tells Graf: the schema FailureReport.
type reportedFailure struct {
	Class             string `json:"class"`
	RetryAfterSeconds int    `json:"retryAfterSeconds"`
}

// readFailure reads it. What is none, as events from before the API checked them may have, says nothing.
func readFailure(content json.RawMessage) reportedFailure {
	var object struct {
		Failure reportedFailure `json:"failure"`
	}
	if json.Unmarshal(content, &object) != nil || !slices.Contains(reportable, object.Failure.Class) {
		return reportedFailure{}
	}
	object.Failure.RetryAfterSeconds = max(object.Failure.RetryAfterSeconds, 0)
	return object.Failure
}

// readUsage compares what all attempts have used with the task's budget.
func (e *evidence) readUsage(ctx context.Context, q *query.Queries, task query.Task) error {
	_, spent, err := budget.Check(ctx, q, task.ID, task.BudgetTokens, task.BudgetUsd)
	e.overspent = spent
	return err
}

func (e *evidence) readChange(ctx context.Context, q *query.Queries, task query.Task) error {
	after, err := q.GetAfterSnapshot(ctx, task.ID, task.Attempt)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the after snapshot: %w", err)
	}
	if after.Manifests == nil {
		e.diff, err = manifest.FromText(value(after.Diff))
		return err
	}
	before, err := q.GetBeforeManifests(ctx, task.ID, after.Live)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the before snapshot: %w", err)
	}
	beforeObjects, err := parse(before, task.ManifestSalt)
	if err != nil {
		return fmt.Errorf("before snapshot: %w", err)
	}
	if e.after, err = parse(after.Manifests, task.ManifestSalt); err != nil {
		return fmt.Errorf("after snapshot: %w", err)
	}
	e.diff = manifest.Compare(beforeObjects, e.after)
	return nil
}

// parse reads stored manifests: they are canonical, and stay as they are.
func parse(stored json.RawMessage, salt []byte) ([]manifest.Object, error) {
	if stored == nil {
		return nil, nil
	}
	return manifest.Parse(stored, salt)
}

// settleArtifacts checks what was uploaded against what was announced. An
// object store that is away, or slow, is an error: the end waits until it is back.
// For one that refuses, it waits for LogWait: somebody may mend that.
func (f *Finalizer) settleArtifacts(ctx context.Context, q *query.Queries, task query.Task) error {
	pending, err := q.ListPendingArtifacts(ctx, task.ID)
	if err != nil {
		return fmt.Errorf("list artifacts: %w", err)
	}
	for _, a := range pending {
		status, reason := "verified", ""
		err := f.verify(ctx, a)
		refused := errors.Is(err, artifact.ErrRefused) && f.waited(task)
		if refused {
			err = fmt.Errorf("could not be checked: %w", err)
		}
		switch {
		case refused, rejects(a, err):
			status, reason = "rejected", err.Error()
			f.log.WarnContext(ctx, "artifact rejected", "task", task.ID, "artifact", a.Name, "reason", reason)
		case err != nil:
			return fmt.Errorf("check artifact %s: %w", a.Name, err)
		}
		if err := q.SettleArtifact(ctx, status, reason, a.ID); err != nil {
			return fmt.Errorf("settle artifact %s: %w", a.Name, err)
		}
	}
	return nil
}

// rejects tells whether what verify found is the artifact's own fault, for good. That the time did not suffice to read it
// is so only of one that is large; of a smaller one it is object storage that is slow, which may pass.
func rejects(a query.Artifact, err error) bool {
	return errors.Is(err, artifact.ErrMissing) || errors.Is(err, artifact.ErrSizeMismatch) ||
		errors.Is(err, artifact.ErrDigestMismatch) || errors.Is(err, artifact.ErrSlow) && a.SizeBytes > artifact.UploadPartSize
}

// verify checks one upload, in so short a time that the end of a task is never kept up by a large one. callback has
// read what was uploaded in parts, unless the agent did not wait for it.
func (f *Finalizer) verify(ctx context.Context, a query.Artifact) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	return f.artifacts.Verify(ctx, a.ObjectKey, a.SizeBytes, fmt.Sprintf("%x", a.Sha256))
}
