package submit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

const (
	// undoWait is how long a request waits for its outcome before it is answered without.
	undoWait = 10 * time.Second
	// undoLook is how often it looks meanwhile.
	undoLook = 100 * time.Millisecond
)

// Undoer takes requests to take back what tasks changed; launch, which may act in the cluster, carries them out.
type Undoer struct {
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	policy *policy.Store
}

// Request stores a request and announces it with task.undo_requested. It fails with problem.ErrNotFound,
// problem.ErrConflict for a task that goes on or whose resources nobody has read from the cluster, and
// problem.ErrForbidden where the policy does not let the caller do what undoing takes.
func (u *Undoer) Request(ctx context.Context, id uuid.UUID, caller string, dry bool) (api.Undo, error) {
	q := query.New(u.pool)
	task, err := q.GetTask(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return api.Undo{}, errNoTask(id)
	}
	if err != nil {
		return api.Undo{}, fmt.Errorf("read task %s: %w", id, postgres.Classify(err))
	}
	if task.FinishedAt == nil {
		return api.Undo{}, problem.ErrConflict.With("Task %s is %s: wait for its end, or cancel it, before you undo it.", id, task.Status)
	}
	change, err := q.GetLiveChange(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return api.Undo{}, problem.ErrConflict.With(
			"What task %s changed is not known: none of its targetResources could be read from the cluster.", id)
	}
	if err != nil {
		return api.Undo{}, fmt.Errorf("read the snapshots of task %s: %w", id, postgres.Classify(err))
	}
	if err := u.allow(ctx, task, caller, change); err != nil {
		return api.Undo{}, err
	}
	var row query.Undo
	err = u.outbox.Transact(ctx, func(tx *outbox.Tx) (err error) {
		row, err = tx.InsertUndo(ctx, query.InsertUndoParams{
			ID: uuid.Must(uuid.NewV7()), TaskID: id, RequestedBy: caller, DryRun: dry,
		})
		if err != nil {
			return fmt.Errorf("store the request: %w", err)
		}
		tx.Announce(event.NewTask(ctx, event.TypeTaskUndoRequested, event.SourceSubmit, id, event.TaskUndoRequested{
			TaskID: id, UndoID: row.ID, RequestedBy: caller, DryRun: dry,
		}))
		return nil
	})
	if err != nil {
		return api.Undo{}, err
	}
	return undoOf(row)
}

// allow asks the policy whether the caller may do what it takes: undoing is no way round it.
func (u *Undoer) allow(ctx context.Context, task query.Task, caller string, change query.GetLiveChangeRow) error {
	p, _, err := u.policy.Current(ctx)
	if err != nil {
		return err
	}
	before, err := manifest.Parse(change.Before, task.ManifestSalt)
	if err != nil {
		return fmt.Errorf("before snapshot: %w", err)
	}
	after, err := manifest.Parse(change.After, task.ManifestSalt)
	if err != nil {
		return fmt.Errorf("after snapshot: %w", err)
	}
	about := policy.Task{
		Caller: caller, Project: task.Project, ID: task.ID.String(), Tags: task.Tags,
		Priority: int(task.Priority), Mode: task.OrchestrationMode,
	}
	wanted := map[manifest.Ref]map[string]any{}
	for _, object := range before {
		content, err := policy.Object(object.JSON())
		if err != nil {
			return fmt.Errorf("read %s back: %w", object.Ref, err)
		}
		wanted[object.Ref.Identity()] = content
	}
	verbs := map[manifest.Op]string{
		manifest.Created: policy.VerbDelete, manifest.Deleted: policy.VerbCreate, manifest.Modified: policy.VerbUpdate,
	}
	var denied []problem.FieldError
	for _, c := range manifest.Compare(before, after).Changes {
		d := p.Decide(policy.Action{Task: about, Verb: verbs[c.Op], Resource: resourceOf(c.Ref), Object: wanted[c.Ref.Identity()]})
		if !d.Allowed {
			denied = append(denied, problem.FieldError{Detail: d.Reason})
		}
	}
	if len(denied) > 0 {
		return problem.ErrForbidden.Fields(denied...)
	}
	return nil
}

// Await waits, for a while, until a request is carried out, and says how it stands then.
func (u *Undoer) Await(ctx context.Context, undo api.Undo) (api.Undo, error) {
	ctx, cancel := context.WithTimeout(ctx, undoWait)
	defer cancel()
	tick := time.NewTicker(undoLook)
	defer tick.Stop()
	for {
		row, err := query.New(u.pool).GetUndo(ctx, undo.UndoID)
		switch {
		case ctx.Err() != nil:
			return undo, nil // Its time is up; the request is stored.
		case err != nil:
			return api.Undo{}, fmt.Errorf("read undo %s: %w", undo.UndoID, postgres.Classify(err))
		}
		if undo, err = undoOf(row); err != nil || undo.FinishedAt != nil {
			return undo, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func undoOf(row query.Undo) (api.Undo, error) {
	undo := api.Undo{}
	if row.Result != nil {
		if err := json.Unmarshal(row.Result, &undo); err != nil {
			return api.Undo{}, fmt.Errorf("read the outcome of undo %s: %w", row.ID, err)
		}
	}
	undo.UndoID, undo.Status, undo.DryRun = row.ID, api.UndoStatus(row.Status), row.DryRun
	undo.RequestedBy, undo.RequestedAt, undo.FinishedAt = row.RequestedBy, row.RequestedAt.UTC(), utc(row.FinishedAt)
	if undo.Resources == nil {
		undo.Resources = []api.UndoneResource{}
	}
	return undo, nil
}
