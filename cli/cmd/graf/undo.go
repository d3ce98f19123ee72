package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	graf "github.com/graf-run/graf/sdk/go"
)

// undoPatience bounds the wait for an undo's end; most take seconds.
const undoPatience = 5 * time.Minute

func (a *app) undoCommand() *cobra.Command {
	var dryRun bool
	command := a.onTask(&cobra.Command{
		Use:   "undo TASK",
		Short: "Take back what a finished task changed in the cluster",
		Long: `Take back what a finished task changed in the cluster, and wait until that is done, for
at most five minutes. The exit status is 5 where it is refused, and 7 where it goes on.`,
		Example: "  graf undo 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d --dry-run",
	}, 1, "the id of a task", func(cmd *cobra.Command, client *graf.Client, id uuid.UUID, _ []string) error {
		undo, err := client.Undo(cmd.Context(), id, dryRun)
		if err != nil {
			return err
		}
		if undo, err = a.awaitUndo(cmd.Context(), client, id, undo); err != nil {
			return err
		}
		if err := a.show(undo, func() error { return a.describeUndo(undo) }); err != nil {
			return err
		}
		return undoError(id, undo, dryRun)
	})
	command.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be done")
	return command
}

// awaitUndo waits until an undo has ended, which the answer to its request need not
// tell. It gives up in time, though not the undo, which goes on.
func (a *app) awaitUndo(ctx context.Context, client *graf.Client, task uuid.UUID, undo graf.Undo) (graf.Undo, error) {
	if undo.Status == graf.UndoStatusRequested {
		_, _ = fmt.Fprintf(a.err, "undo %s is %s: waiting for its end\n", undo.UndoID, undo.Status)
	}
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	enough := time.After(undoPatience)
	for undo.Status == graf.UndoStatusRequested {
		select {
		case <-look.C:
		case <-enough:
			return undo, fmt.Errorf("undo %s: %w\nsee what becomes of it: graf get %s", undo.UndoID, errUndoOpen, task)
		case <-ctx.Done():
			return undo, ctx.Err()
		}
		shown, err := client.Task(ctx, task)
		if err != nil {
			return undo, err
		}
		if at := slices.IndexFunc(shown.Undos, func(u graf.Undo) bool { return u.UndoID == undo.UndoID }); at >= 0 {
			undo = shown.Undos[at]
		}
	}
	return undo, nil
}

// undoError is an undo that did not come about, nil for another.
func undoError(task uuid.UUID, undo graf.Undo, dryRun bool) error {
	switch {
	case undo.Status == graf.UndoStatusFailed:
		return fmt.Errorf("the undo was %s: %s", undo.Status, undo.Reason)
	case undo.Status != graf.UndoStatusRefused:
		return nil
	case dryRun:
		return fmt.Errorf("%w: %s", errUndoRefused, undo.Reason)
	default:
		return fmt.Errorf("%w: %s\nsee what is in its way: graf undo %s --dry-run", errUndoRefused, undo.Reason, task)
	}
}

func (a *app) describeUndo(undo graf.Undo) error {
	if err := a.line("undo %s: %s, %d resources", undo.UndoID, undo.Status, len(undo.Resources)); err != nil {
		return err
	}
	for _, done := range undo.Resources {
		where := strings.TrimPrefix(done.Resource.Namespace+"/"+done.Resource.Name, "/")
		if err := a.line("%s %s: %s", done.Resource.Kind, where, done.Operation); err != nil {
			return err
		}
		for _, field := range done.Conflicts {
			if err := a.line("  changed since by somebody else: %s", printable(field)); err != nil {
				return err
			}
		}
		for _, value := range done.Lost {
			if err := a.line("  cannot be brought back: %s", printable(value)); err != nil {
				return err
			}
		}
		if done.Diff != "" {
			if err := a.printDiff(done.Diff); err != nil {
				return err
			}
		}
	}
	return nil
}
