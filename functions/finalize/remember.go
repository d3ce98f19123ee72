package finalize

import (
	"context"
	"fmt"
	"strings"

	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgres/query"
)

// remember writes what the attempt taught as memories: what came of it, the
// change, and the resources as they are now.
func remember(ctx context.Context, q *query.Queries, task query.Task, found evidence, end ending) error {
	attempt := int64(task.Attempt)
	parts := []memory.Part{{
		Kind: memory.KindOutcome, Number: attempt, Text: lesson(task, found, end),
		Metadata: map[string]any{"status": end.result(), "attempt": attempt},
	}}
	if !found.diff.Empty() {
		parts = append(parts, memory.Part{
			Kind: memory.KindDiff, Number: attempt, Text: found.diff.Summary + "\n\n" + found.diff.Unified,
			Metadata: map[string]any{"digest": found.diff.Digest},
		})
	}
	if len(found.after) > 0 {
		parts = append(parts, memory.Part{Kind: memory.KindAfter, Number: attempt, Text: manifest.YAML(found.after)})
	}
	return memory.Write(ctx, q, memory.Task{
		ID: task.ID, Namespaces: task.Namespaces, ResourceKinds: task.ResourceKinds, Tags: task.Tags,
	}, parts...)
}

// result is the ending as a reader calls it.
func (e ending) result() string {
	if e.again {
		return "failed, to be tried again"
	}
	return strings.ReplaceAll(e.status, "_", " ")
}

// lesson is one readable text of what was asked and what came of it: what a
// later task is most likely to be given.
func lesson(task query.Task, found evidence, end ending) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Asked: %s\n", clip(strings.TrimSpace(task.Prompt), 400))
	fmt.Fprintf(&b, "Result: %s (attempt %d of %d).\n", end.result(), task.Attempt, task.MaxAttempts)
	if end.reason != "" {
		fmt.Fprintf(&b, "Why: %s\n", clip(end.reason, 400))
	}
	for _, f := range found.failures {
		if f.Attempt < task.Attempt {
			fmt.Fprintf(&b, "Attempt %d had failed: %s\n", f.Attempt, clip(f.FailureReason, 200))
		}
	}
	if found.diff.Summary != "" {
		fmt.Fprintf(&b, "Changed: %s\n", clip(found.diff.Summary, 500))
	}
	if found.report == "completed" && found.said != "" {
		fmt.Fprintf(&b, "The agent's own account: %s\n", clip(found.said, 600))
	}
	return b.String()
}
