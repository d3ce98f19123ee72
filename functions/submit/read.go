package submit

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
)

// Bounds on what a task shows: the newest snapshots, the first artifacts, and
// memories beyond what any prompt is given.
const (
	maxSnapshots = 20
	maxArtifacts = 200
	maxRecalls   = 500
	maxApprovals = 200
	maxUndos     = 50
)

// presigner makes download links; *artifact.Store is the real one.
type presigner interface {
	// PresignDownload needs no round trip.
	PresignDownload(ctx context.Context, key, name string) (artifact.Download, error)
}

// Reader shows tasks.
type Reader struct {
	pool      *pgxpool.Pool
	artifacts presigner
}

// details are the rows that make up a task, as of one moment.
type details struct {
	task      query.Task
	attempts  []query.ListTaskAttemptsRow
	snapshots []query.ListLastTaskSnapshotsRow
	artifacts []query.ListVerifiedArtifactsRow
	memories  []query.CountTaskMemoriesRow
	recalls   []query.ListTaskRecallsRow
	approvals []query.Approval
	undos     []query.Undo
	usage     query.SumUsageRow
}

// Task is everything about one task. It fails with problem.ErrNotFound.
func (r *Reader) Task(ctx context.Context, id uuid.UUID) (api.Task, error) {
	d, err := r.details(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return api.Task{}, errNoTask(id)
	}
	if err != nil {
		return api.Task{}, fmt.Errorf("read task %s: %w", id, postgres.Classify(err))
	}
	task, err := d.show()
	if err != nil {
		return api.Task{}, fmt.Errorf("read task %s: %w", id, err)
	}
	task.Artifacts, err = r.links(ctx, d.artifacts)
	return task, err
}

// details reads in one snapshot, so that a task that moves on meanwhile does
// not show an attempt it has not begun.
func (r *Reader) details(ctx context.Context, id uuid.UUID) (details, error) {
	var d details
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, r.pool, options, func(tx pgx.Tx) error {
		q := query.New(tx)
		var err error
		if d.task, err = q.GetTask(ctx, id); err != nil {
			return err
		}
		if d.attempts, err = q.ListTaskAttempts(ctx, id); err != nil {
			return err
		}
		if d.snapshots, err = q.ListLastTaskSnapshots(ctx, id, maxSnapshots); err != nil {
			return err
		}
		if d.artifacts, err = q.ListVerifiedArtifacts(ctx, id, maxArtifacts); err != nil {
			return err
		}
		if d.memories, err = q.CountTaskMemories(ctx, id); err != nil {
			return err
		}
		if d.recalls, err = q.ListTaskRecalls(ctx, id, maxRecalls); err != nil {
			return err
		}
		if d.approvals, err = q.ListApprovals(ctx, id, maxApprovals); err != nil {
			return err
		}
		if d.undos, err = q.ListUndos(ctx, id, maxUndos); err != nil {
			return err
		}
		d.usage, err = q.SumUsage(ctx, id)
		return err
	})
	return d, err
}

// links shows artifacts with a link to download each.
func (r *Reader) links(ctx context.Context, rows []query.ListVerifiedArtifactsRow) ([]api.Artifact, error) {
	artifacts := make([]api.Artifact, 0, len(rows))
	for _, row := range rows {
		link, err := r.artifacts.PresignDownload(ctx, row.ObjectKey, row.Name)
		if err != nil {
			return nil, fmt.Errorf("link to artifact %s: %w", row.ID, err)
		}
		artifacts = append(artifacts, api.Artifact{
			ArtifactID: row.ID, Source: api.ArtifactSource(row.Source), Attempt: int(row.Attempt), Name: row.Name, ContentType: row.ContentType,
			SizeBytes: row.SizeBytes, Sha256: hex.EncodeToString(row.Sha256), DownloadURL: link.URL, ExpiresAt: link.ExpiresAt,
		})
	}
	return artifacts, nil
}

// show is the task as the API has it, without its artifacts.
func (d *details) show() (api.Task, error) {
	t := d.task
	task := api.Task{
		TaskID: t.ID, RetryOf: t.RetryOf, Status: api.TaskStatus(t.Status), Caller: t.Caller, Prompt: t.Prompt,
		Budget: budgetOf(t), Usage: usageOf(d.usage),
		Project: t.Project, OrchestrationMode: api.OrchestrationMode(t.OrchestrationMode), Priority: int(t.Priority),
		TimeoutSeconds: int(t.TimeoutSeconds), MaxAttempts: int(t.MaxAttempts), Attempt: int(t.Attempt),
		Tags: t.Tags, Metadata: t.Metadata, Diff: diffOf(t), Failure: failureOf(t.FailureClass, t.FailureReason),
		CreatedAt: t.CreatedAt.UTC(), QueuedAt: utc(&t.QueuedAt), LaunchingAt: utc(t.LaunchingAt),
		StartedAt: utc(t.StartedAt), FinalizingAt: utc(t.FinalizingAt), FinishedAt: utc(t.FinishedAt),
		DeadlineAt: utc(t.DeadlineAt), CancelRequestedAt: utc(t.CancelRequestedAt), UpdatedAt: t.UpdatedAt.UTC(),
		Embeddings: readiness(d.memories), Memories: recalled(d.recalls),
	}
	// A submission without a key was given its own id for one.
	if t.IdempotencyKey != t.ID.String() {
		task.IdempotencyKey = t.IdempotencyKey
	}
	d.showAttempts(&task)
	return task, errors.Join(
		json.Unmarshal(t.Agent, &task.Agent),
		json.Unmarshal(t.TargetResources, &task.TargetResources),
		d.showSnapshots(&task), d.showPolicy(&task))
}

func (d *details) showAttempts(task *api.Task) {
	task.Attempts = make([]api.Attempt, 0, len(d.attempts))
	for _, row := range d.attempts {
		attempt := api.Attempt{
			Attempt: int(row.Attempt), Execution: executionOf(row), LaunchedAt: row.LaunchedAt.UTC(),
			Recall:    &api.Recall{Mode: api.RecallMode(row.RecallMode), Reason: row.RecallReason},
			Failure:   failureOf(row.FailureClass, row.FailureReason),
			StartedAt: utc(row.StartedAt), LastSeenAt: utc(row.LastSeenAt), FinishedAt: utc(row.FinishedAt),
		}
		if row.ExitCode != nil {
			attempt.ExitCode = new(int(*row.ExitCode))
		}
		task.Attempts = append(task.Attempts, attempt)
		if row.Attempt == d.task.Attempt {
			task.Execution, task.Recall = attempt.Execution, attempt.Recall
		}
	}
}

func (d *details) showSnapshots(task *api.Task) error {
	task.Snapshots = make([]api.Snapshot, 0, len(d.snapshots))
	for _, row := range d.snapshots {
		snapshot := api.Snapshot{
			SnapshotID: row.ID, Type: api.SnapshotType(row.Type), Attempt: int(row.Attempt),
			Digest: row.Digest, Diff: text(row.Diff), CreatedAt: row.CreatedAt.UTC(),
		}
		if row.Manifests != nil {
			if err := json.Unmarshal(row.Manifests, &snapshot.Manifests); err != nil {
				return fmt.Errorf("snapshot %s: %w", row.ID, err)
			}
		}
		task.Snapshots = append(task.Snapshots, snapshot)
	}
	return nil
}
