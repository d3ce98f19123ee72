package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	graf "github.com/graf-run/graf/sdk/go"
)

const (
	// lookInterval is between two looks at a task: stages are not events.
	lookInterval = 500 * time.Millisecond
	// drawInterval is between two pictures of the progress display.
	drawInterval = 120 * time.Millisecond
	// watchAttempts bridges about a minute in which Graf is away.
	watchAttempts = 14
)

func (a *app) watchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "watch TASK",
		Short: "Watch a task to its end: its stages and what its agent reports",
		Long: `Watch a task to its end: its stages and what its agent reports. On a terminal the
last line shows the stage that it is in. With -o json each event is a line of its own,
with -o yaml a document.

` + exitHelp,
		Example:           "  graf watch 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d",
		Args:              arguments(1, 1, "the id of a task"),
		ValidArgsFunction: a.completeTasks,
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := taskID(given[0])
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			return a.watch(cmd.Context(), client, id)
		},
	}
}

// watch shows the task until it has ended; an end without success is an error.
func (a *app) watch(ctx context.Context, client *graf.Client, id uuid.UUID) error {
	w := &watcher{app: a, client: client, id: id, shown: map[string]bool{}}
	if err := w.look(ctx); err != nil { // a task that does not exist is told at once, and so is a Graf that is away
		return err
	}
	var err error
	if w.client, err = a.clientTrying(graf.Retry{Attempts: watchAttempts}); err != nil {
		return err
	}
	if err := w.run(ctx); err != nil {
		return err
	}
	if w.task.Status != graf.TaskStatusSucceeded {
		return &endError{w.task}
	}
	return nil
}

// watcher shows one task. All that it draws is drawn by run's goroutine.
type watcher struct {
	*app
	client *graf.Client
	id     uuid.UUID

	task  graf.Task
	shown map[string]bool // stages
	drawn bool            // whether the last line is the progress display
	frame int
	// failed is why the task cannot be shown any more, such as a full disk.
	failed error
}

// came is an event, or the end of them.
type came struct {
	event graf.TaskEvent
	err   error
	end   bool
}

func (w *watcher) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan came)
	go w.follow(ctx, events)
	look, draw := time.NewTicker(lookInterval), time.NewTicker(drawInterval)
	defer look.Stop()
	defer draw.Stop()
	for w.failed == nil {
		select {
		case next := <-events:
			switch {
			case next.err != nil:
				w.keep(next.err)
			case next.end:
				w.keep(w.look(ctx))
				w.end()
				return w.failed
			default:
				w.keep(w.event(ctx, next.event))
			}
		case <-look.C:
			w.keep(w.look(ctx))
		case <-draw.C:
			w.draw()
		case <-ctx.Done():
			w.keep(ctx.Err())
		}
	}
	w.erase()
	return w.failed
}

// follow sends the events as they come, until the task has ended.
func (w *watcher) follow(ctx context.Context, events chan<- came) {
	send := func(next came) bool {
		select {
		case events <- next:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for event, err := range w.client.Follow(ctx, w.id, 0) {
		if !send(came{event: event, err: err}) || err != nil {
			return
		}
	}
	send(came{end: true})
}

// look reads the task and shows the stages that are new.
func (w *watcher) look(ctx context.Context) error {
	task, err := w.client.Task(ctx, w.id)
	if err != nil {
		return err
	}
	w.task = task
	w.stage("queued", task.QueuedAt, fmt.Sprintf("task %s, %s", task.TaskID, task.OrchestrationMode))
	for _, approval := range task.Approvals {
		if approval.Decision == "" {
			w.stage("approval "+approval.ApprovalID.String(), &approval.RequestedAt,
				fmt.Sprintf("%s; run: graf approve %s", approval.Description, task.TaskID))
		}
	}
	for _, attempt := range task.Attempts {
		of := fmt.Sprintf("attempt %d of %d", attempt.Attempt, task.MaxAttempts)
		text := of
		if attempt.Execution != nil {
			text += fmt.Sprintf(", %s %s/%s", attempt.Execution.Kind, attempt.Execution.Namespace, attempt.Execution.Name)
		}
		w.stage(fmt.Sprint("launched ", attempt.Attempt), &attempt.LaunchedAt, text)
		w.stage(fmt.Sprint("running ", attempt.Attempt), attempt.StartedAt, of)
		if attempt.Failure != nil && attempt.Attempt < task.Attempt {
			w.stage(fmt.Sprint("retry ", attempt.Attempt), attempt.FinishedAt, attempt.Failure.Reason)
		}
	}
	return nil
}

// stage shows one that was reached, once.
func (w *watcher) stage(key string, at *time.Time, text string) {
	if at == nil || w.shown[key] {
		return
	}
	w.shown[key] = true
	name, _, _ := strings.Cut(key, " ")
	w.say(*at, name, text, map[string]style{"retry": yellow, "approval": yellow}[name], cyan)
}

// say prints a line of the timeline: how long after the submission, what, and the
// details, of which all but the first line are indented.
func (w *watcher) say(at time.Time, name, text string, strong ...style) {
	if w.forPrograms() {
		return
	}
	w.erase()
	with := strong[len(strong)-1]
	if strong[0] != "" {
		with = strong[0]
	}
	since := max(0, at.Sub(w.task.CreatedAt)).Seconds()
	lines := strings.Split(printableLines(text), "\n")
	w.keep(w.line("%s  %s %s", w.paint(dim, fmt.Sprintf("%8.1fs", since)), w.paint(with, fmt.Sprintf("%-10s", name)), lines[0]))
	for _, line := range lines[1:] {
		w.keep(w.line("%22s%s", "", line))
	}
}

// keep keeps the first error; nil is none.
func (w *watcher) keep(err error) {
	if w.failed == nil {
		w.failed = err
	}
}

// event shows what the agent reported, after the stage that it was in.
func (w *watcher) event(ctx context.Context, event graf.TaskEvent) error {
	if w.forPrograms() {
		return w.showEach(event)
	}
	if !w.shown[fmt.Sprint("running ", event.Attempt)] {
		if err := w.look(ctx); err != nil {
			return err
		}
	}
	with := dim
	if event.EventType == graf.EventTypeFailed {
		with = red
	}
	w.say(event.ReceivedAt, string(event.EventType), eventText(event), with)
	return nil
}

// end shows how the task ended.
func (w *watcher) end() {
	w.erase()
	if w.forPrograms() {
		return
	}
	if !w.task.Status.Ended() {
		return
	}
	w.stage("finalizing", w.task.FinalizingAt, "")
	text, with := fmt.Sprintf("attempt %d of %d", w.task.Attempt, w.task.MaxAttempts), green
	if w.task.Failure != nil {
		text += ": " + w.task.Failure.Reason
	}
	if w.task.Status != graf.TaskStatusSucceeded {
		with = red
	}
	at := w.task.UpdatedAt
	if w.task.FinishedAt != nil {
		at = *w.task.FinishedAt
	}
	w.say(at, string(w.task.Status), text, with)
	if w.task.Diff != nil {
		w.say(at, "diff", "see it: graf diff "+w.id.String(), cyan)
	}
	if n := len(w.task.Artifacts); n > 0 {
		w.say(at, "artifacts", fmt.Sprintf("%d, get them: graf artifacts %s --download .", n, w.id), cyan)
	}
}

// frames are the pictures of the progress display, one after the other.
var frames = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// stages are those that a task passes, in their order.
var stages = []graf.TaskStatus{
	graf.TaskStatusQueued, graf.TaskStatusLaunching, graf.TaskStatusRunning, graf.TaskStatusFinalizing,
}

// draw draws the progress display in place of the last one.
func (w *watcher) draw() {
	if !w.live || w.forPrograms() {
		return
	}
	w.erase()
	w.frame++
	var parts []string
	present := false
	for _, stage := range stages {
		switch {
		case stage == w.task.Status:
			present = true
			parts = append(parts, w.paint(bold, string(stage)))
		case present:
			parts = append(parts, w.paint(dim, string(stage)))
		default:
			parts = append(parts, w.paint(green, string(stage)))
		}
	}
	if !present {
		parts = []string{w.paint(bold, string(w.task.Status))}
	}
	elapsed := time.Since(w.task.CreatedAt).Truncate(time.Second)
	if w.width > 60 { // a line that is broken cannot be erased
		_, _ = fmt.Fprintf(w.out, "%c %s  %s", frames[w.frame%len(frames)], strings.Join(parts, " › "), elapsed)
	} else {
		_, _ = fmt.Fprintf(w.out, "%c %s", frames[w.frame%len(frames)], elapsed)
	}
	w.drawn = true
}

// erase takes the progress display away.
func (w *watcher) erase() {
	if w.drawn {
		_, _ = fmt.Fprint(w.out, "\r\x1b[K")
		w.drawn = false
	}
}

// eventText tells an event to people.
func eventText(event graf.TaskEvent) string {
	switch {
	case len(event.Artifacts) > 0:
		var parts []string
		for _, artifact := range event.Artifacts {
			parts = append(parts, fmt.Sprintf("%s, %d bytes", artifact.Name, artifact.SizeBytes))
		}
		return strings.Join(parts, "; ")
	case event.Snapshot != nil:
		return fmt.Sprintf("the resources %s the run: %d", event.Snapshot.Type, len(event.Snapshot.Manifests))
	case event.EventType == graf.EventTypeResource:
		return resourceText(event.Content)
	}
	if event.EventType == graf.EventTypeUsage {
		return usedText(event.Content)
	}
	var text string
	if json.Unmarshal(event.Content, &text) == nil {
		return text
	}
	var object struct{ Message, Summary, Text, Lesson string }
	if json.Unmarshal(event.Content, &object) != nil {
		return string(event.Content)
	}
	text = cmp.Or(object.Message, object.Summary, object.Text)
	switch {
	case text+object.Lesson == "":
		return string(event.Content)
	case object.Lesson == "":
		return text
	}
	return strings.TrimPrefix(text+"\nLesson: "+object.Lesson, "\n")
}

// usedText tells what was used since the last time.
func usedText(content json.RawMessage) string {
	var used struct {
		InputTokens, CachedInputTokens, OutputTokens int64
		USD                                          float64
	}
	if json.Unmarshal(content, &used) != nil {
		return string(content)
	}
	text := fmt.Sprintf("%d input tokens, %d of them cached, %d output tokens", used.InputTokens, used.CachedInputTokens, used.OutputTokens)
	if used.USD > 0 {
		text += fmt.Sprintf(", $%.4f", used.USD)
	}
	return text
}

// resourceText tells how one of the task's resources, or its execution, has changed.
func resourceText(content json.RawMessage) string {
	var change graf.ResourceChange
	if json.Unmarshal(content, &change) != nil {
		return string(content)
	}
	text := fmt.Sprintf("%s %s/%s %s", change.Kind, change.Namespace, change.Name, change.Change)
	switch {
	case change.Change == graf.ResourceChangeChangeDeleted:
	case change.Failed:
		text += ", failed"
	case change.Ready:
		text += ", ready"
	default:
		text += ", not ready"
	}
	if change.Message != "" {
		text += ": " + change.Message
	}
	return text
}
