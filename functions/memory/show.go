package memory

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// maxApprovals is the most approvals that a task is shown with.
const maxApprovals = 100

// Task is what an agent is shown of a task: what it needs to know of its own work.
// The submit function shows callers the rest.
type Task struct {
	TaskID            uuid.UUID       `json:"taskId"`
	Status            api.TaskStatus  `json:"status"`
	Project           string          `json:"project,omitempty"`
	Prompt            string          `json:"prompt"`
	TargetResources   json.RawMessage `json:"targetResources"`
	Tags              []string        `json:"tags"`
	Attempt           int             `json:"attempt"`
	MaxAttempts       int             `json:"maxAttempts"`
	DeadlineAt        *time.Time      `json:"deadlineAt,omitempty"`
	CancelRequestedAt *time.Time      `json:"cancelRequestedAt,omitempty"`
	// Grants are what the policy lets the task do with each resource.
	Grants    json.RawMessage `json:"grants,omitempty"`
	Approvals []Approval      `json:"approvals"`
	// Failure is how the last attempt that ended did, unless it succeeded.
	Failure *api.Failure `json:"failure,omitempty"`
	Diff    *TaskDiff    `json:"diff,omitempty"`
}

// Approval is something that the task waits or waited for.
type Approval struct {
	ApprovalID  uuid.UUID           `json:"approvalId"`
	Description string              `json:"description"`
	Reason      string              `json:"reason,omitempty"`
	Decision    api.ApprovalVerdict `json:"decision,omitempty"`
	Comment     string              `json:"comment,omitempty"`
}

// TaskDiff is what a task changed, in short.
type TaskDiff struct {
	Digest  string `json:"digest"`
	Summary string `json:"summary,omitempty"`
	// Resource is the address of the whole diff.
	Resource string `json:"resource"`
}

// Tasks shows tasks.
type Tasks struct {
	pool *pgxpool.Pool
}

// Exists fails with problem.ErrNotFound where there is no such task.
func (t *Tasks) Exists(ctx context.Context, id uuid.UUID) error {
	if _, err := query.New(t.pool).GetTaskStatus(ctx, id); err != nil {
		return taskError(id, err)
	}
	return nil
}

// Show reads a task. It fails with problem.ErrNotFound.
func (t *Tasks) Show(ctx context.Context, id uuid.UUID) (Task, error) {
	q := query.New(t.pool)
	row, err := q.GetTask(ctx, id)
	if err != nil {
		return Task{}, taskError(id, err)
	}
	approvals, err := q.ListApprovals(ctx, id, maxApprovals)
	if err != nil {
		return Task{}, fmt.Errorf("read approvals of task %s: %w", id, postgres.Classify(err))
	}
	task := Task{
		TaskID: id, Status: api.TaskStatus(row.Status), Project: row.Project, Prompt: row.Prompt,
		TargetResources: row.TargetResources, Tags: row.Tags, Attempt: int(row.Attempt), MaxAttempts: int(row.MaxAttempts),
		DeadlineAt: row.DeadlineAt, CancelRequestedAt: row.CancelRequestedAt, Grants: row.Grants,
		Approvals: make([]Approval, 0, len(approvals)),
	}
	for _, a := range approvals {
		task.Approvals = append(task.Approvals, Approval{
			ApprovalID: a.ID, Description: a.Description, Reason: a.Reason,
			Decision: api.ApprovalVerdict(text(a.Decision)), Comment: text(a.Comment),
		})
	}
	if row.FailureClass != nil {
		task.Failure = &api.Failure{Class: api.FailureClass(*row.FailureClass), Reason: text(row.FailureReason)}
	}
	if row.DiffDigest != nil {
		task.Diff = &TaskDiff{Digest: *row.DiffDigest, Summary: text(row.DiffSummary), Resource: taskAddress + id.String() + diffEnding}
	}
	return task, nil
}

// Diff is what a task changed, as a unified diff. It fails with problem.ErrNotFound,
// also for a task that has none yet.
func (t *Tasks) Diff(ctx context.Context, id uuid.UUID) (string, error) {
	row, err := query.New(t.pool).GetTask(ctx, id)
	if err != nil {
		return "", taskError(id, err)
	}
	if row.DiffUnified == nil {
		return "", problem.ErrNotFound.With("Task %s has no diff; it has one when it has ended, if it changed anything.", id)
	}
	return *row.DiffUnified, nil
}

// text is empty for NULL.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
