// Package snapshot stores what was read from the cluster of a task's resources.
package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/postgres/query"
)

// Types of a snapshot.
const (
	Before = "before"
	After  = "after"
)

// Live says that a state was read from the cluster, rather than told by somebody.
const Live = true

// Store stores the state before a task's first attempt, which counts as attempt 0, or after one of its attempts. The
// first reading is the right one: another changes nothing.
func Store(ctx context.Context, q *query.Queries, task uuid.UUID, kind string, attempt int16, state kube.Snapshot) error {
	// An empty list, not null, is what there is of resources that are all absent.
	manifests, err := json.Marshal(slices.Concat([]manifest.Object{}, state.Objects))
	if err != nil {
		return fmt.Errorf("encode the state %s task %s: %w", kind, task, err)
	}
	absent, err := json.Marshal(slices.Concat([]manifest.Ref{}, state.Absent))
	if err != nil {
		return fmt.Errorf("encode the state %s task %s: %w", kind, task, err)
	}
	err = q.InsertLiveSnapshot(ctx, query.InsertLiveSnapshotParams{
		ID: uuid.Must(uuid.NewV7()), TaskID: task, Type: kind, Attempt: attempt,
		Manifests: manifests, Digest: manifest.Digest(state.Objects), Absent: absent,
	})
	if err != nil {
		return fmt.Errorf("store the state %s task %s: %w", kind, task, err)
	}
	return nil
}
