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

// completionTime is how long a shell may be kept waiting.
const completionTime = 2 * time.Second

// onTask is a command about the task that its first argument names.
func (a *app) onTask(command *cobra.Command, most int, what string,
	run func(cmd *cobra.Command, client *graf.Client, id uuid.UUID, rest []string) error,
) *cobra.Command {
	command.Args = arguments(1, most, what)
	command.ValidArgsFunction = a.completeTasks
	command.RunE = func(cmd *cobra.Command, given []string) error {
		id, err := taskID(given[0])
		if err != nil {
			return err
		}
		client, err := a.client()
		if err != nil {
			return err
		}
		return run(cmd, client, id, given[1:])
	}
	return command
}

// completeTasks completes the ids of the newest tasks, if Graf tells them soon: the shell
// waits.
func (a *app) completeTasks(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	client, err := a.clientTrying(graf.Retry{Attempts: 1})
	if err != nil || len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	page, err := client.TaskPage(ctx, graf.ListTasksParams{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for _, task := range page.Tasks {
		ids = append(ids, fmt.Sprintf("%s\t%s, %s ago", task.TaskID, task.Status, age(task.CreatedAt)))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

func (a *app) getCommand() *cobra.Command {
	return a.onTask(&cobra.Command{
		Use:     "get TASK",
		Short:   "Show a task",
		Example: "  graf get 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d\n  graf get 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d -o yaml",
	}, 1, "the id of a task", func(cmd *cobra.Command, client *graf.Client, id uuid.UUID, _ []string) error {
		task, err := client.Task(cmd.Context(), id)
		if err != nil {
			return err
		}
		return a.show(task, func() error { return a.describe(task) })
	})
}

// describe shows a task to people.
func (a *app) describe(task graf.Task) error {
	rows := [][]string{
		{"TASK", task.TaskID.String()}, {"STATUS", string(task.Status)}, {"CALLER", task.Caller},
		{"PROMPT", clip(printable(task.Prompt), a.width-12)},
	}
	if task.RetryOf != nil {
		rows = append(rows, []string{"RETRY OF", task.RetryOf.String()})
	}
	for _, target := range task.TargetResources {
		rows = append(rows, []string{"TARGET", strings.TrimSpace(target.Kind + " " + strings.TrimPrefix(target.Namespace+"/"+target.Name, "/"))})
	}
	rows = append(rows,
		[]string{"AGENT", strings.TrimSpace(task.Agent.Kind + " " + clip(strings.Join(slices.Concat(task.Agent.Command, task.Agent.Arguments), " "), a.width-20))},
		[]string{"ATTEMPT", fmt.Sprintf("%d of %d", task.Attempt, task.MaxAttempts)},
		[]string{"CREATED", fmt.Sprintf("%s (%s ago)", task.CreatedAt.Format("2006-01-02 15:04:05Z07:00"), age(task.CreatedAt))},
	)
	if n := len(task.Attempts); n > 0 && task.Attempts[n-1].LastSeenAt != nil {
		rows = append(rows, []string{"LAST SEEN", age(*task.Attempts[n-1].LastSeenAt) + " ago"})
	}
	if len(task.Tags) > 0 {
		rows = append(rows, []string{"TAGS", strings.Join(task.Tags, ", ")})
	}
	if used := usageText(task); used != "" {
		rows = append(rows, []string{"USED", used})
	}
	if task.Failure != nil {
		reason, _, _ := strings.Cut(task.Failure.Reason, "\n")
		rows = append(rows, []string{"FAILURE", string(task.Failure.Class) + ": " + clip(reason, a.width-20)})
	}
	for _, approval := range task.Approvals {
		state := string(approval.Decision)
		if state == "" {
			state = "waits"
		}
		rows = append(rows, []string{"APPROVAL", fmt.Sprintf("%s %s: %s", approval.ApprovalID, state, approval.Description)})
	}
	for _, undo := range task.Undos {
		rows = append(rows, []string{"UNDO", strings.TrimSuffix(fmt.Sprintf("%s %s: %s", undo.UndoID, undo.Status, undo.Reason), ": ")})
	}
	for _, artifact := range task.Artifacts {
		rows = append(rows, []string{"ARTIFACT", fmt.Sprintf("%s, %d bytes", artifact.Name, artifact.SizeBytes)})
	}
	if task.Diff != nil {
		rows = append(rows, []string{"DIFF", task.Diff.Digest})
	}
	return a.table(rows)
}

// usageText is what a task has used of its budget, "" where it has neither.
func usageText(task graf.Task) string {
	var parts []string
	budget := graf.Budget{}
	if task.Budget != nil {
		budget = *task.Budget
	}
	if budget.Tokens != nil {
		parts = append(parts, fmt.Sprintf("%d of %d tokens", task.Usage.Tokens, *budget.Tokens))
	} else if task.Usage.Tokens > 0 {
		parts = append(parts, fmt.Sprintf("%d tokens", task.Usage.Tokens))
	}
	if budget.USD != nil {
		parts = append(parts, fmt.Sprintf("%.2f of %.2f USD", task.Usage.USD, *budget.USD))
	} else if task.Usage.USD > 0 {
		parts = append(parts, fmt.Sprintf("%.2f USD", task.Usage.USD))
	}
	return strings.Join(parts, ", ")
}

func (a *app) listCommand() *cobra.Command {
	var states, tags []string
	var limit int
	command := &cobra.Command{
		Use:     "list",
		Short:   "List tasks, newest first",
		Example: "  graf list\n  graf list --status failed --status timed_out --tag web -o json",
		Args:    arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			params := graf.ListTasksParams{Tag: tags}
			if params.Limit, err = pageLimit(limit); err != nil {
				return err
			}
			for _, state := range states {
				params.Status = append(params.Status, graf.TaskStatus(state))
			}
			tasks := []graf.TaskSummary{}
			for task, err := range client.Tasks(cmd.Context(), params) {
				if err != nil {
					return err
				}
				if tasks = append(tasks, task); len(tasks) >= limit {
					break
				}
			}
			return a.show(tasks, func() error { return a.listTasks(tasks) })
		},
	}
	flags := command.Flags()
	flags.StringArrayVar(&states, "status", nil, "only tasks in this state; may be repeated")
	flags.StringArrayVar(&tags, "tag", nil, "only tasks with this tag; may be repeated")
	flags.IntVar(&limit, "limit", 50, "the most tasks")
	return command
}

func (a *app) listTasks(tasks []graf.TaskSummary) error {
	rows := [][]string{{"TASK", "STATUS", "ATTEMPT", "AGE", "CALLER", "TAGS", "FAILURE"}}
	for _, task := range tasks {
		failure := ""
		if task.Failure != nil {
			reason, _, _ := strings.Cut(task.Failure.Reason, "\n")
			failure = clip(string(task.Failure.Class)+": "+reason, 60)
		}
		rows = append(rows, []string{
			task.TaskID.String(), string(task.Status), fmt.Sprintf("%d/%d", task.Attempt, task.MaxAttempts),
			age(task.CreatedAt), task.Caller, strings.Join(task.Tags, ","), failure,
		})
	}
	return a.table(rows)
}

func (a *app) cancelCommand() *cobra.Command {
	var reason string
	command := a.onTask(&cobra.Command{
		Use:     "cancel TASK",
		Short:   "Cancel a task: a queued one at once, a running one soon",
		Example: "  graf cancel 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d --reason 'not needed any more'",
	}, 1, "the id of a task", func(cmd *cobra.Command, client *graf.Client, id uuid.UUID, _ []string) error {
		cancelled, err := client.Cancel(cmd.Context(), id, reason)
		if err != nil {
			return err
		}
		return a.show(cancelled, func() error { return a.line("%s is %s", cancelled.TaskID, cancelled.Status) })
	})
	command.Flags().StringVar(&reason, "reason", "", "why, for the audit trail")
	return command
}

func (a *app) retryCommand() *cobra.Command {
	var request graf.TaskRetry
	var watch bool
	command := a.onTask(&cobra.Command{
		Use:     "retry TASK",
		Short:   "Run an ended task again, as a new task",
		Example: "  graf retry 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d --watch",
	}, 1, "the id of a task", func(cmd *cobra.Command, client *graf.Client, id uuid.UUID, _ []string) error {
		created, err := client.Retry(cmd.Context(), id, request)
		if err != nil {
			return err
		}
		if watch {
			return a.watch(cmd.Context(), client, created.TaskID)
		}
		created.Callback.Token = "" // it is the agent's, and terminals have a memory
		return a.show(created, func() error { return a.line("%s", created.TaskID) })
	})
	flags := command.Flags()
	flags.BoolVar(&request.Force, "force", false, "run it again although it succeeded")
	flags.StringVar(&request.IdempotencyKey, "idempotency-key", "", "the same key again is the same new task")
	flags.BoolVarP(&watch, "watch", "w", false, "watch the new task to its end")
	return command
}

func (a *app) logsCommand() *cobra.Command {
	var follow bool
	command := a.onTask(&cobra.Command{
		Use:   "logs TASK",
		Short: "Show what a task's agent reported",
		Example: `  graf logs 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d --follow
  graf logs 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d -o json | jq .content`,
	}, 1, "the id of a task", func(cmd *cobra.Command, client *graf.Client, id uuid.UUID, _ []string) error {
		events := client.Events(cmd.Context(), id, graf.ListTaskEventsParams{Limit: 500})
		if follow {
			events = client.Follow(cmd.Context(), id, 0)
		}
		for event, err := range events {
			if err != nil {
				return err
			}
			if err := a.logEvent(event); err != nil {
				return err
			}
		}
		return nil
	})
	command.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the task has ended")
	return command
}

// logEvent prints one of the events that graf logs shows.
func (a *app) logEvent(event graf.TaskEvent) error {
	if a.forPrograms() {
		return a.showEach(event)
	}
	return a.line("%s %s %s", a.paint(dim, event.ReceivedAt.Format("15:04:05.000")),
		a.paint(cyan, fmt.Sprintf("%-10s", event.EventType)), printableLines(eventText(event)))
}

func (a *app) diffCommand() *cobra.Command {
	return a.onTask(&cobra.Command{
		Use:     "diff TASK",
		Short:   "Show what a task changed, as a unified diff",
		Example: "  graf diff 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d | less",
	}, 1, "the id of a task", func(cmd *cobra.Command, client *graf.Client, id uuid.UUID, _ []string) error {
		task, err := client.Task(cmd.Context(), id)
		if err != nil {
			return err
		}
		return a.show(task.Diff, func() error {
			if task.Diff == nil {
				_, err := fmt.Fprintf(a.err, "the task is %s and has no diff\n", task.Status)
				return err
			}
			return a.printDiff(task.Diff.Unified)
		})
	})
}

// printDiff prints a unified diff in the usual colours.
func (a *app) printDiff(unified string) error {
	for _, line := range strings.Split(printableLines(unified), "\n") {
		with := style("")
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
			with = bold
		case strings.HasPrefix(line, "@@"):
			with = cyan
		case strings.HasPrefix(line, "+"):
			with = green
		case strings.HasPrefix(line, "-"):
			with = red
		}
		if err := a.line("%s", a.paint(with, line)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) approveCommand() *cobra.Command {
	var reject bool
	var comment string
	command := a.onTask(&cobra.Command{
		Use:   "approve TASK [APPROVAL]",
		Short: "Approve or reject what a task waits for",
		Long: `Approve or reject what a task waits for. The approval can be left out where only one
waits. A task whose approval is rejected is cancelled.`,
		Example: `  graf approve 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d
  graf approve 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d --reject --comment 'not on a Friday'`,
	}, 2, "the id of a task, and that of an approval where several wait", func(
		cmd *cobra.Command, client *graf.Client, id uuid.UUID, rest []string,
	) error {
		approval, err := a.approval(cmd, client, id, rest)
		if err != nil {
			return err
		}
		decision := graf.ApprovalDecision{Decision: graf.ApprovalVerdictApproved, Comment: comment}
		if reject {
			decision.Decision = graf.ApprovalVerdictRejected
		}
		decided, err := client.DecideApproval(cmd.Context(), id, approval, decision)
		if err != nil {
			return err
		}
		return a.show(decided, func() error { return a.line("%s: %s", decided.Decision, printable(decided.Description)) })
	})
	command.Flags().BoolVar(&reject, "reject", false, "reject it, and cancel the task")
	command.Flags().StringVar(&comment, "comment", "", "why, for the audit trail")
	return command
}

// approval is the one that was named, or the only one that waits.
func (a *app) approval(cmd *cobra.Command, client *graf.Client, id uuid.UUID, rest []string) (uuid.UUID, error) {
	if len(rest) == 1 {
		return parseID(rest[0], noApproval)
	}
	task, err := client.Task(cmd.Context(), id)
	if err != nil {
		return uuid.Nil, err
	}
	var waiting []graf.Approval
	for _, approval := range task.Approvals {
		if approval.Decision == "" {
			waiting = append(waiting, approval)
		}
	}
	if len(waiting) == 1 {
		return waiting[0].ApprovalID, nil
	}
	text := fmt.Sprintf("%d approvals wait, so name the one that you mean", len(waiting))
	if len(waiting) == 0 {
		text = fmt.Sprintf("the task is %s and waits for no approval", task.Status)
	}
	for _, approval := range waiting {
		text += fmt.Sprintf("\n  %s  %s", approval.ApprovalID, printable(approval.Description))
	}
	return uuid.Nil, usage("%s", text)
}
