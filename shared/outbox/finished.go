package outbox

import (
	"context"
	"fmt"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/postgres/query"
)

// AnnounceFinished announces that task, as it stands in the transaction, has
// reached its end, and wakes those who follow it once that is committed. source
// is the function that brought it there.
func (t *Tx) AnnounceFinished(ctx context.Context, source string, task query.Task) error {
	artifacts, err := t.CountArtifacts(ctx, task.ID)
	if err != nil {
		return fmt.Errorf("count the artifacts of task %s: %w", task.ID, err)
	}
	e := event.NewTask(ctx, event.TypeTaskFinished, source, task.ID, event.TaskFinished{
		TaskID: task.ID, Status: task.Status, Attempts: int(task.Attempt),
		FailureClass: value(task.FailureClass), FailureReason: value(task.FailureReason),
		DiffDigest: value(task.DiffDigest), Artifacts: int(artifacts), Events: task.LastEventSequence,
		DurationMs: task.FinishedAt.Sub(task.CreatedAt).Milliseconds(), FinishedAt: task.FinishedAt.UTC(),
	})
	e.SetExtension(event.ExtensionTaskStatus, task.Status)
	t.Announce(e)
	t.ended = append(t.ended, task.ID)
	return nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
