package callback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/budget"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/telemetry"
)

// actor is who this function is in the audit.
const actor = "graf/callback"

// minProgressText is the least that a progress event says, in characters, to be
// worth remembering: "50 %" teaches nothing.
const minProgressText = 24

// Receipt is what became of a report.
type Receipt struct {
	// Events has each event's sequence number, in the order of the report.
	Events []api.EventAccepted
	// New counts those that were not there before.
	New int
	// Uploads are the artifacts of these events whose bytes were not checked yet.
	Uploads []query.ListUploadsRow
	// BudgetSpent says which part of the task's budget is used up; "" for none.
	BudgetSpent string
}

// Recorder stores reports.
type Recorder struct {
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	log    *slog.Logger
}

// Record stores what of the report is new and announces it with one
// task.reported event. An event id that the attempt used already changes nothing,
// whatever comes with it. It fails with problem.ErrConflict if the task has
// ended, unless nothing of the report is new. Heartbeats are noted with the attempt
// and are not stored; alone, they fail with problem.ErrConflict unless it runs.
func (r *Recorder) Record(ctx context.Context, report Report) (receipt Receipt, err error) {
	ctx, span := telemetry.Start(ctx, "record")
	defer telemetry.End(span, &err)
	if receipt, err = r.record(ctx, report); err == nil {
		receipt.BudgetSpent, err = r.budgetSpent(ctx, report.Reporter)
	}
	return receipt, err
}

// budgetSpent adds up what the task has used, if that is bounded. What the report says of it is stored by now: should this
// fail, it is sent again.
func (r *Recorder) budgetSpent(ctx context.Context, reporter Reporter) (string, error) {
	_, spent, err := budget.Check(ctx, query.New(r.pool), reporter.TaskID, reporter.BudgetTokens, reporter.BudgetUSD)
	return spent, postgres.Classify(err)
}

func (r *Recorder) record(ctx context.Context, report Report) (receipt Receipt, err error) {
	entries := slices.DeleteFunc(slices.Clone(report.Entries), isHeartbeat)
	if len(entries) < len(report.Entries) {
		if err := r.see(ctx, report.Reporter, len(entries) == 0); err != nil {
			return Receipt{}, err
		}
	}
	if report.Entries = entries; len(entries) == 0 {
		return Receipt{Events: []api.EventAccepted{}}, nil
	}
	err = r.outbox.Transact(ctx, func(tx *outbox.Tx) error {
		held, err := hold(ctx, tx.Raw, report)
		if err != nil {
			return err
		}
		if len(held.reused) > 0 {
			r.log.WarnContext(ctx, "event ids were used before for something else; what came now is dropped",
				"taskId", report.Reporter.TaskID, "eventIds", held.reused)
		}
		fresh := held.number(report.Entries)
		if len(fresh) > 0 {
			if err := held.store(ctx, tx, report, fresh); err != nil {
				return err
			}
		}
		receipt, err = held.receipt(ctx, tx.Queries, report, len(fresh))
		return err
	})
	if err != nil {
		return Receipt{}, err
	}
	if receipt.New > 0 {
		r.notify(ctx, report.Reporter.TaskID)
	}
	return receipt, nil
}

func isHeartbeat(entry Entry) bool { return entry.Type == api.EventTypeHeartbeat }

// see notes that the reporter's attempt lives. That it does not run matters if
// there is nothing else to store.
func (r *Recorder) see(ctx context.Context, reporter Reporter, alone bool) error {
	//nolint:gosec // the database's own smallint
	rows, err := query.New(r.pool).SeeAttempt(ctx, reporter.TaskID, int16(reporter.Attempt))
	if err != nil {
		return fmt.Errorf("note a heartbeat of task %s: %w", reporter.TaskID, postgres.Classify(err))
	}
	if rows == 0 && alone {
		return problem.ErrConflict.With("The attempt does not run; it takes no heartbeat.")
	}
	return nil
}

// held is a task whose row the transaction holds: nobody else can number events
// or end the task meanwhile.
type held struct {
	status  string
	attempt int16
	last    int64
	memory  memory.Task
	// sequences has the numbers of the report's events that are stored, and
	// reused the ids of those that are stored as something else.
	sequences map[string]int64
	reused    []string
}

// One round trip for both. They are two statements because the second must see
// what was committed while the first waited for the row. The row's lock is the
// one that does not get in the way of foreign keys. An event's id is its sender's
// within an attempt, which is told as attemptOf tells it.
const (
	holdTask = `SELECT status, attempt, last_event_sequence, namespaces, resource_kinds, tags
		FROM codex_tasks WHERE id = $1 FOR NO KEY UPDATE`
	findEvents = `SELECT event_id, sequence, event_type, content FROM codex_task_events WHERE task_id = $1 AND event_id = ANY($2::text[])
		AND attempt = coalesce(nullif($3::smallint, 0), (SELECT greatest(attempt, 1) FROM codex_tasks WHERE id = $1))`
)

func hold(ctx context.Context, tx pgx.Tx, report Report) (*held, error) {
	id := report.Reporter.TaskID
	h := &held{memory: memory.Task{ID: id}, sequences: map[string]int64{}}
	ids := make([]string, len(report.Entries))
	for i, entry := range report.Entries {
		ids[i] = entry.EventID
	}
	var batch pgx.Batch
	batch.Queue(holdTask, id).QueryRow(func(row pgx.Row) error {
		return row.Scan(&h.status, &h.attempt, &h.last, &h.memory.Namespaces, &h.memory.ResourceKinds, &h.memory.Tags)
	})
	batch.Queue(findEvents, id, ids, report.Reporter.Attempt).Query(func(rows pgx.Rows) error {
		var eventID, eventType string
		var sequence int64
		var content []byte
		_, err := pgx.ForEachRow(rows, []any{&eventID, &sequence, &eventType, &content}, func() error {
			h.sequences[eventID] = sequence
			if said := report.Entries[slices.Index(ids, eventID)]; string(said.Type) != eventType || !sameJSON(said.Content, content) {
				h.reused = append(h.reused, eventID)
			}
			return nil
		})
		return err
	})
	err := tx.SendBatch(ctx, &batch).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, problem.ErrNotFound.With("There is no task %s.", id)
	}
	if err != nil {
		return nil, fmt.Errorf("hold task %s: %w", id, err)
	}
	return h, nil
}

// sameJSON says whether two contents mean the same; none is nil.
func sameJSON(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// number gives each event that is new the next sequence number, the first of
// those with one id, and returns them.
func (h *held) number(entries []Entry) []Entry {
	var fresh []Entry
	for _, entry := range entries {
		if _, known := h.sequences[entry.EventID]; known {
			continue
		}
		fresh = append(fresh, entry)
		h.sequences[entry.EventID] = h.last + int64(len(fresh))
	}
	return fresh
}

// store writes the events that are new and announces them.
func (h *held) store(ctx context.Context, tx *outbox.Tx, report Report, fresh []Entry) error {
	if ended(h.status) {
		return problem.ErrConflict.With("The task ended as %s; it takes no more events.", h.status)
	}
	attempt := h.attemptOf(report.Reporter)
	rows := query.InsertReportParams{
		TaskID: h.memory.ID, Attempt: attempt, UpdatedBy: actor, LastSequence: h.last + int64(len(fresh)),
	}
	for _, entry := range fresh {
		h.addRows(&rows, entry)
	}
	if err := tx.InsertReport(ctx, rows); err != nil {
		return fmt.Errorf("store events of task %s: %w", h.memory.ID, err)
	}
	tx.Announce(h.reported(ctx, attempt, fresh))
	return memory.Write(ctx, tx.Queries, h.memory, h.parts(attempt, fresh)...)
}

// attemptOf is the attempt that a report is about. The submitter may speak
// before the first one has begun; that counts as said of it.
func (h *held) attemptOf(reporter Reporter) int16 {
	if reporter.Attempt > 0 {
		return int16(reporter.Attempt) //nolint:gosec // the database's own smallint
	}
	return max(h.attempt, 1)
}

func (h *held) addRows(rows *query.InsertReportParams, entry Entry) {
	sequence := h.sequences[entry.EventID]
	rows.Sequences = append(rows.Sequences, sequence)
	rows.EventIds = append(rows.EventIds, entry.EventID)
	rows.EventTypes = append(rows.EventTypes, string(entry.Type))
	rows.Contents = append(rows.Contents, entry.Content)
	rows.OccurredAts = append(rows.OccurredAts, entry.OccurredAt)
	for _, a := range entry.Artifacts {
		rows.ArtifactIds = append(rows.ArtifactIds, a.ID)
		rows.ArtifactSequences = append(rows.ArtifactSequences, sequence)
		rows.ArtifactNames = append(rows.ArtifactNames, a.Name)
		rows.ArtifactContentTypes = append(rows.ArtifactContentTypes, a.ContentType)
		rows.ArtifactSizes = append(rows.ArtifactSizes, a.SizeBytes)
		rows.ArtifactDigests = append(rows.ArtifactDigests, a.SHA256)
		rows.ArtifactKeys = append(rows.ArtifactKeys, artifact.Key(h.memory.ID.String(), a.ID.String()))
	}
	if s := entry.Snapshot; s != nil {
		rows.SnapshotIds = append(rows.SnapshotIds, s.ID)
		rows.SnapshotSequences = append(rows.SnapshotSequences, sequence)
		rows.SnapshotTypes = append(rows.SnapshotTypes, string(s.Type))
		rows.SnapshotManifests = append(rows.SnapshotManifests, s.Manifests)
		rows.SnapshotDiffs = append(rows.SnapshotDiffs, s.Diff)
		rows.SnapshotDigests = append(rows.SnapshotDigests, s.Digest)
	}
}

// reported announces the events.
func (h *held) reported(ctx context.Context, attempt int16, fresh []Entry) event.Event {
	data := event.TaskReported{
		TaskID: h.memory.ID, Attempt: int(attempt),
		FirstSequence: h.last + 1, LastSequence: h.last + int64(len(fresh)),
	}
	terminal := "false"
	for _, entry := range fresh {
		if !slices.Contains(data.EventTypes, string(entry.Type)) {
			data.EventTypes = append(data.EventTypes, string(entry.Type))
		}
		if entry.Terminal() {
			terminal = "true"
		}
	}
	e := event.NewTask(ctx, event.TypeTaskReported, event.SourceCallback, h.memory.ID, data)
	e.SetExtension(event.ExtensionTerminal, terminal)
	return e
}

// parts are the memories: what was said at the end and on the way. Logs are
// not: they are long, and what matters of them an agent says otherwise. Of
// snapshots finalize remembers what they come to.
func (h *held) parts(attempt int16, fresh []Entry) []memory.Part {
	var parts []memory.Part
	for _, entry := range fresh {
		if !entry.Terminal() && entry.Type != api.EventTypeProgress {
			continue
		}
		text := memory.ContentText(entry.Content)
		if !entry.Terminal() && utf8.RuneCountInString(text) < minProgressText {
			continue
		}
		parts = append(parts, memory.Part{
			Kind: memory.KindEvent, Number: h.sequences[entry.EventID], Text: text,
			Metadata: map[string]any{"eventType": entry.Type, "attempt": attempt},
		})
	}
	return parts
}

// receipt answers for all events of the report, new or not.
func (h *held) receipt(ctx context.Context, q *query.Queries, report Report, fresh int) (Receipt, error) {
	receipt := Receipt{New: fresh, Events: make([]api.EventAccepted, len(report.Entries))}
	var withUploads []int64
	for i, entry := range report.Entries {
		sequence := h.sequences[entry.EventID]
		receipt.Events[i] = api.EventAccepted{EventID: entry.EventID, Sequence: sequence}
		// Also of a repeated event that has none now: the first one may have had.
		if len(entry.Artifacts) > 0 || sequence <= h.last {
			withUploads = append(withUploads, sequence)
		}
	}
	if len(withUploads) == 0 {
		return receipt, nil
	}
	var err error
	if receipt.Uploads, err = q.ListUploads(ctx, h.memory.ID, withUploads); err != nil {
		return Receipt{}, fmt.Errorf("list uploads of task %s: %w", h.memory.ID, err)
	}
	return receipt, nil
}

// notify wakes those who follow the task.
func (r *Recorder) notify(ctx context.Context, task uuid.UUID) {
	if err := postgres.NotifyTask(ctx, r.pool, task); err != nil {
		r.log.WarnContext(ctx, "followers will look by themselves", "error", err)
	}
}

// ended says whether a task in this status has ended.
func ended(status string) bool {
	switch api.TaskStatus(status) {
	case api.TaskStatusSucceeded, api.TaskStatusFailed, api.TaskStatusCancelled, api.TaskStatusTimedOut:
		return true
	default:
		return false
	}
}
