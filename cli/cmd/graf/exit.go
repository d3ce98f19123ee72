package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	graf "github.com/graf-run/graf/sdk/go"
)

// The statuses that graf exits with; docs/cli.md and graf --help list them.
const (
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitRefused     = 4
	exitConflict    = 5
	exitInvalid     = 6
	exitUnavailable = 7
	exitFailed      = 10
	exitCancelled   = 11
	exitTimedOut    = 12
	exitInterrupted = 130
)

// usageError is a command line that cannot be carried out.
type usageError struct{ error }

// Unwrap is the error itself.
func (e *usageError) Unwrap() error { return e.error }

func usage(format string, arguments ...any) error {
	return &usageError{fmt.Errorf(format, arguments...)}
}

// errNoArtifact is a name that no artifact of the task has.
var errNoArtifact = errors.New("the task has none of that name")

// errUndoRefused is an undo that the cluster's state does not allow.
var errUndoRefused = errors.New("the undo was refused")

// errUndoOpen is an undo that has not ended in time.
var errUndoOpen = errors.New("it goes on")

// endError is a watched task that has not succeeded; what became of it was shown.
type endError struct{ task graf.Task }

// Error tells the status and where to look.
func (e *endError) Error() string {
	return fmt.Sprintf("the task is %s\nsee what it did: graf logs %s", e.task.Status, e.task.TaskID)
}

// status is what to exit with.
func status(ctx context.Context, err error) int {
	if ended, ok := errors.AsType[*endError](err); ok {
		switch ended.task.Status {
		case graf.TaskStatusCancelled:
			return exitCancelled
		case graf.TaskStatusTimedOut:
			return exitTimedOut
		default:
			return exitFailed
		}
	}
	_, misused := errors.AsType[*usageError](err)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		return exitInterrupted
	case misused || strings.HasPrefix(err.Error(), "unknown command"):
		return exitUsage
	}
	for _, kind := range kinds {
		if errors.Is(err, kind.err) {
			return kind.status
		}
	}
	if away(err) {
		return exitUnavailable
	}
	return exitError
}

// kinds are Graf's refusals, each with what to do next.
var kinds = []struct {
	err    error
	status int
	next   string
}{
	{errNoArtifact, exitNotFound, ""},
	{errUndoRefused, exitConflict, ""},
	{errUndoOpen, exitUnavailable, ""},
	{graf.ErrNotFound, exitNotFound, noTask},
	{graf.ErrUnauthorized, exitRefused, "log in again with a token that Graf knows: graf login URL < token-file"},
	{graf.ErrForbidden, exitRefused, "the policy or the token does not allow it: ask who runs Graf, or take another --context"},
	{graf.ErrConflict, exitConflict, "graf get TASK shows the state that it is in"},
	{graf.ErrInvalid, exitInvalid, "mend what is named and try again"},
	{graf.ErrTooLarge, exitInvalid, "send less at once"},
	{graf.ErrRateLimited, exitUnavailable, "wait a moment and try again"},
	{graf.ErrUnavailable, exitUnavailable, "Graf may be starting or be in trouble: try again in a moment"},
	{graf.ErrBrokenOff, exitUnavailable, "Graf, or what is before it, was interrupted: try again in a moment"},
}

// nextOf is what to do next where a refusal of this operation is not about a task.
var nextOf = map[string]map[error]string{
	"getMemory":    {graf.ErrNotFound: noMemory},
	"forgetMemory": {graf.ErrNotFound: noMemory},
	"getDeadLetter": {
		graf.ErrNotFound: noLetter,
	},
	"replayDeadLetter": {
		graf.ErrNotFound: noLetter,
		graf.ErrConflict: "graf dlq show LETTER shows the state that it is in",
	},
	"decideApproval": {graf.ErrNotFound: noApproval},
}

// Where there are the things that were not found, and their ids.
const (
	noTask     = "graf list shows the tasks that there are"
	noApproval = "graf get TASK shows the approvals that it has"
	noMemory   = "graf memory search TEXT finds those that there are"
	noLetter   = "graf dlq list shows the dead letters that there are"
)

// next is what to do after a refusal of a kind, by what was asked.
func next(err, kind error, usual string) string {
	problem, ok := errors.AsType[*graf.Problem](err)
	switch {
	case !ok:
		return usual
	case ofStorage(problem):
		return "it is object storage that refuses: try again, and if that does not help ask who runs Graf"
	default:
		return cmp.Or(nextOf[problem.Operation][kind], usual)
	}
}

// ofStorage says whether object storage refused, rather than Graf.
func ofStorage(problem *graf.Problem) bool {
	return strings.HasPrefix(problem.Operation, "download of ")
}

// away says whether nobody answered at all.
func away(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok
}

// explain is an error for people, with what to do next.
func explain(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return "interrupted; the task goes on, if there is one: graf list"
	}
	text := err.Error()
	if problem, ok := errors.AsType[*graf.Problem](err); ok {
		text = strings.Replace(text, problem.Error(), describe(problem), 1) // what was to be done stays before it
	}
	for _, kind := range kinds {
		if errors.Is(err, kind.err) {
			return strings.TrimSpace(text + "\n" + next(err, kind.err, kind.next))
		}
	}
	if away(err) {
		return text + "\nis Graf running, and is this its address? graf contexts shows it; GRAF_URL and GRAF_TOKEN override it"
	}
	if strings.HasPrefix(text, "unknown command") {
		return text + "\nsee graf --help"
	}
	return text
}

// describe is a refusal with a line for each bad field.
func describe(problem *graf.Problem) string {
	text := problem.Title
	if ofStorage(problem) {
		text = problem.Operation + ": " + text
	}
	if problem.Detail != "" {
		text += ": " + problem.Detail
	}
	for _, field := range problem.Errors {
		text += fmt.Sprintf("\n  %s%s %s", field.Pointer, field.Parameter, field.Detail)
	}
	if problem.Status >= 500 && problem.Instance != "" {
		text += "\n  in Graf's log it is " + problem.Instance
	}
	return text
}
