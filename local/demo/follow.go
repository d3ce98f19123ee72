package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/graf-run/graf/shared/api"
)

// pollInterval is between two looks at a task: what events do not tell, such as
// its start and its end.
const pollInterval = 100 * time.Millisecond

// follower shows one task from its submission until it is remembered. Events
// come by the stream, the rest by looking at the task; what it shows is in the
// order in which it happened.
type follower struct {
	client  *client
	printer *printer
	created api.TaskCreated
	earlier []outcome

	task     api.Task
	events   []api.TaskEvent // all of them so far
	shown    int             // of events
	launched int             // the last attempt that was shown as launched
	failed   int             // the last attempt that was shown as failed
}

func (f *follower) id() string { return f.created.TaskID.String() }

// follow returns the task at its end, when its memories are ready.
func (f *follower) follow(ctx context.Context) (outcome, error) {
	f.printer.stage(0, "queued", "task "+f.id())
	if err := f.untilEnd(ctx); err != nil {
		return outcome{}, err
	}
	f.showEnd()
	if f.task.Status != api.TaskStatusSucceeded {
		return f.outcome(), nil
	}
	return f.outcome(), f.untilRemembered(ctx)
}

func (f *follower) outcome() outcome { return outcome{task: f.task, events: f.events} }

func (f *follower) untilEnd(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, broken := make(chan api.TaskEvent), make(chan error, 1)
	go func() {
		if err := f.client.stream(ctx, f.id(), events); err != nil {
			broken <- err
		}
	}()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !ended(f.task.Status) {
		select {
		case event := <-events:
			f.add(event)
		case <-tick.C:
		case err := <-broken:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := f.look(ctx); err != nil {
			return err
		}
	}
	return nil
}

func ended(status api.TaskStatus) bool {
	switch status {
	case api.TaskStatusSucceeded, api.TaskStatusFailed, api.TaskStatusCancelled, api.TaskStatusTimedOut:
		return true
	default:
		return false
	}
}

// add keeps an event that is not known yet.
func (f *follower) add(event api.TaskEvent) {
	if len(f.events) == 0 || event.Sequence > f.events[len(f.events)-1].Sequence {
		f.events = append(f.events, event)
	}
}

// look reads the task and shows what is new.
func (f *follower) look(ctx context.Context) error {
	task, err := f.client.task(ctx, f.id())
	if err != nil {
		return err
	}
	f.task = task
	for _, attempt := range task.Attempts {
		if attempt.Attempt > f.launched && (attempt.StartedAt != nil || attempt.FinishedAt != nil) {
			f.launched = attempt.Attempt
			f.showLaunch(attempt)
		}
		if attempt.FinishedAt != nil && attempt.Attempt > f.failed {
			// The stream may still be on its way with the attempt's last events.
			if err := f.catchUp(ctx); err != nil {
				return err
			}
		}
		f.showEvents(attempt.Attempt)
		if attempt.Failure != nil && attempt.Attempt > f.failed && attempt.Attempt == f.launched {
			f.failed = attempt.Attempt
			f.showFailure(attempt)
		}
	}
	return nil
}

func (f *follower) catchUp(ctx context.Context) error {
	events, err := f.client.events(ctx, f.id())
	for _, event := range events {
		f.add(event)
	}
	return err
}

// showEvents shows the events up to this attempt's, if the attempt was shown.
func (f *follower) showEvents(attempt int) {
	for f.shown < len(f.events) && f.events[f.shown].Attempt <= min(attempt, f.launched) {
		event := f.events[f.shown]
		f.shown++
		f.printer.stage(f.since(&event.ReceivedAt), string(event.EventType), eventText(event))
	}
}

func (f *follower) showLaunch(attempt api.Attempt) {
	memories := memoriesOf(f.task, attempt.Attempt)
	if attempt.Attempt > 1 && sameMemories(memories, memoriesOf(f.task, attempt.Attempt-1)) {
		f.printer.stage(f.since(&attempt.LaunchedAt), "recalled", "the same "+count(len(memories)))
	} else {
		f.printer.recall(f.since(&attempt.LaunchedAt), attempt.Recall, memories, f.sourceName)
	}
	if attempt.Execution != nil {
		f.printer.stage(f.since(attempt.StartedAt), "launched", fmt.Sprintf("%s %s/%s",
			attempt.Execution.Kind, attempt.Execution.Namespace, attempt.Execution.Name))
	}
}

func sameMemories(a, b []api.RecalledMemory) bool {
	return slices.EqualFunc(a, b, func(a, b api.RecalledMemory) bool { return a.MemoryID == b.MemoryID })
}

// showFailure shows that an attempt failed and another follows; the last one's
// failure is the task's, see showEnd.
func (f *follower) showFailure(attempt api.Attempt) {
	if attempt.Attempt == f.task.MaxAttempts {
		return
	}
	// The rest is the end of the agent's log, which is in its events already.
	reason, _, _ := strings.Cut(attempt.Failure.Reason, "\n")
	f.printer.stage(f.since(attempt.FinishedAt), "retry", fmt.Sprintf("attempt %d of %d failed and is quoted to the next: %s",
		attempt.Attempt, f.task.MaxAttempts, reason))
}

// sourceName says which task a memory is of.
func (f *follower) sourceName(source api.MemorySource) string {
	for i, o := range f.earlier {
		if o.task.TaskID == source.TaskID {
			return fmt.Sprintf("%s of task %d", source.Kind, i+1)
		}
	}
	return fmt.Sprintf("%s of task %s", source.Kind, source.TaskID)
}

func (f *follower) showEnd() {
	text := fmt.Sprintf("attempt %d of %d", f.task.Attempt, f.task.MaxAttempts)
	if f.task.Failure != nil {
		text += ": " + f.task.Failure.Reason
	}
	if f.task.Diff != nil {
		text += ", diff " + clipDigest(f.task.Diff.Digest)
	}
	f.printer.end(f.since(f.task.FinishedAt), string(f.task.Status), text, f.task.Status == api.TaskStatusSucceeded)
}

// clipDigest leaves enough of a digest to tell it from others.
func clipDigest(digest string) string { return digest[:min(len("sha256:")+12, len(digest))] + "…" }

// since is the time from the submission; both are of the server's clock.
func (f *follower) since(at *time.Time) time.Duration {
	if at == nil {
		return 0
	}
	return at.Sub(f.created.CreatedAt)
}

// untilRemembered waits until later tasks can be given what this one taught.
func (f *follower) untilRemembered(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if err := f.look(ctx); err != nil {
			return err
		}
		pending, err := notReady(f.task.Embeddings)
		if err != nil {
			return err
		}
		if !pending {
			f.printer.stage(time.Since(f.created.CreatedAt), "remembered", "the vectors of prompt, before, after, diff and outcome are ready")
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// notReady says whether some part's vectors are still being made.
func notReady(e api.EmbeddingReadiness) (bool, error) {
	for _, part := range []struct {
		name  string
		state api.EmbeddingState
	}{{"prompt", e.Prompt}, {"before", e.Before}, {"after", e.After}, {"diff", e.Diff}, {"events", e.Events}} {
		switch part.state {
		case api.EmbeddingStateReady:
		case api.EmbeddingStateFailed:
			return false, fmt.Errorf("the vectors of its %s could not be made: see the log", part.name)
		default:
			return true, nil
		}
	}
	return false, nil
}
