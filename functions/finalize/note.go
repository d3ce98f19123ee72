package finalize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

const (
	// eventResource is the type of task events that finalize itself writes. Agents cannot send it.
	eventResource = "resource"
	// maxNoteText bounds the text of one, in bytes.
	maxNoteText = 512
	// noteTries bounds how often a resource is looked at for one event about it.
	noteTries = 5
)

// What happened to a resource.
const (
	added   = "added"
	changed = "changed"
	deleted = "deleted"
)

// note is what a task is told of a resource: the content of an event of its stream, ResourceChange in the
// OpenAPI document. It has nothing of a resource's spec.
type note struct {
	manifest.Ref

	UID        string `json:"uid,omitempty"`
	Generation int64  `json:"generation,omitempty"`
	Change     string `json:"change"`
	Ready      bool   `json:"ready"`
	Failed     bool   `json:"failed"`
	Message    string `json:"message,omitempty"`
	// Last says that the task is told of no further changes.
	Last bool `json:"last,omitempty"`
}

// repeats tells whether n says of the resource what the one before said.
func (n note) repeats(before note) bool {
	if (n.Change == deleted) != (before.Change == deleted) {
		return false
	}
	n.Change, n.Last = before.Change, before.Last
	return n == before
}

// noted is the last that a task was told of a resource; its sequence is 0 if there is nothing.
type noted struct {
	sequence int64
	note     note
}

// look tells how a resource is, or that there is nothing to tell.
type look func(ctx context.Context) (n note, tell bool, err error)

// tell puts what is new of a resource among the events of tasks. hint is what somebody says of it, look asks the cluster,
// once for all tasks, and only if the hint is news to one. Between two looks whose outcomes are stored nobody else
// stores one, so that what is stored last is what was seen last, in whatever order the hints came.
func (f *Finalizer) tell(ctx context.Context, tasks []uuid.UUID, hint note, look look) error {
	for range noteTries {
		again, err := f.tellOnce(ctx, tasks, hint, look)
		if err != nil || len(again) == 0 {
			return err
		}
		tasks = again
	}
	return problem.ErrUnavailable.With("others keep telling of %s", hint.Ref)
}

// tellOnce returns the tasks that somebody else has told of the resource meanwhile.
func (f *Finalizer) tellOnce(ctx context.Context, tasks []uuid.UUID, hint note, look look) ([]uuid.UUID, error) {
	last, err := f.lastNotes(ctx, tasks, hint.Ref)
	if err != nil {
		return nil, err
	}
	ignorant := slices.DeleteFunc(slices.Clone(tasks), func(task uuid.UUID) bool {
		before, told := last[task]
		return told && (before.note.Last || hint.repeats(before.note))
	})
	if len(ignorant) == 0 {
		return nil, nil
	}
	now, tell, err := look(ctx)
	if err != nil || !tell {
		return nil, err
	}
	var again []uuid.UUID
	for _, task := range ignorant {
		stored, err := f.storeNote(ctx, task, now, last[task])
		if err != nil {
			return nil, fmt.Errorf("tell task %s of %s: %w", task, now.Ref, err)
		}
		if !stored {
			again = append(again, task)
		}
	}
	return again, nil
}

func (f *Finalizer) lastNotes(ctx context.Context, tasks []uuid.UUID, ref manifest.Ref) (map[uuid.UUID]noted, error) {
	resource, err := json.Marshal(ref)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", ref, err)
	}
	rows, err := query.New(f.pool).ListLastNotes(ctx, tasks, resource)
	if err != nil {
		return nil, fmt.Errorf("read what was told of %s: %w", ref, err)
	}
	last := make(map[uuid.UUID]noted, len(rows))
	for _, row := range rows {
		n := noted{sequence: row.Sequence}
		if err := json.Unmarshal(row.Content, &n.note); err != nil {
			return nil, fmt.Errorf("event %d of task %s: %w", row.Sequence, row.TaskID, err)
		}
		last[row.TaskID] = n
	}
	return last, nil
}

// after is a note as it follows another of the same resource, or of one that had its name.
func (n note) after(last noted) note {
	if last.sequence > 0 && n.Change == changed && last.note.UID != n.UID {
		n.Change = added // there was another, or none
	}
	return n
}

// storeNote adds an event to a task that is under way, if it is news. false: somebody else has told it of the resource
// since the last was read.
func (f *Finalizer) storeNote(ctx context.Context, id uuid.UUID, n note, last noted) (current bool, err error) {
	told := false
	err = postgres.Transact(ctx, f.pool, func(tx pgx.Tx) error {
		current, told = true, false
		q := query.New(tx)
		task, err := q.LockTask(ctx, id)
		if errors.Is(err, pgx.ErrNoRows) || (err == nil && !underWay(task.Status)) {
			return nil
		}
		if err != nil {
			return err
		}
		current, told, err = f.addNote(ctx, q, task, n.after(last), last)
		return err
	})
	if told && err == nil {
		if err := postgres.NotifyTask(ctx, f.pool, id); err != nil {
			f.log.WarnContext(ctx, "followers will look by themselves", "error", err)
		}
	}
	return current, err
}

// addNote is storeNote for a task whose row is held; told says whether there is an event.
func (f *Finalizer) addNote(ctx context.Context, q *query.Queries, task query.Task, n note, last noted) (current, told bool, err error) {
	resource, err := json.Marshal(n.Ref)
	if err != nil {
		return false, false, fmt.Errorf("encode %s: %w", n.Ref, err)
	}
	before, err := q.CountNotes(ctx, resource, task.ID)
	if err != nil {
		return false, false, err
	}
	if before.LastSequence != last.sequence {
		return false, false, nil
	}
	most := f.config.MaxResourceEvents
	if before.Notes >= most || (last.sequence > 0 && n.repeats(last.note)) {
		return true, false, nil
	}
	n.Last = before.Notes+1 == most
	return true, true, insertNote(ctx, q, task, n)
}

// insertNote stores the event. It is not announced and becomes no memory: an agent says by itself what is worth it.
func insertNote(ctx context.Context, q *query.Queries, task query.Task, n note) error {
	content, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode what is told of %s: %w", n.Ref, err)
	}
	sequence := task.LastEventSequence + 1
	return q.InsertReport(ctx, query.InsertReportParams{
		TaskID: task.ID, Attempt: max(task.Attempt, 1), UpdatedBy: actor, LastSequence: sequence, Sequences: []int64{sequence},
		EventIds: []string{uuid.Must(uuid.NewV7()).String()}, EventTypes: []string{eventResource},
		Contents: []json.RawMessage{content}, OccurredAts: []time.Time{time.Now().UTC()},
	})
}

// noteText is a text of the cluster as a note has it.
func noteText(text string) string { return clip(storable(text), maxNoteText) }

// underWay tells whether a task in this status has an attempt that goes on.
func underWay(status string) bool {
	return slices.Contains([]string{"launching", "running", "finalizing"}, status)
}
