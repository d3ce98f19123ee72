package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	graf "github.com/graf-run/graf/sdk/go"
)

func (a *app) memoryCommand() *cobra.Command {
	command := &cobra.Command{
		Use:     "memory",
		Short:   "Search what tasks have learned, show it, or have it forgotten",
		Example: "  graf memory search 'how much RAM may a pod use?'",
		Args:    arguments(0, 0, "search, show or forget"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(a.memorySearchCommand(), a.memoryShowCommand(), a.memoryForgetCommand())
	return command
}

func (a *app) memorySearchCommand() *cobra.Command {
	var search graf.MemorySearch
	var limit int
	var task, kind string
	var since time.Duration
	command := &cobra.Command{
		Use:   "search TEXT",
		Short: "Search what tasks have learned, by meaning and by words",
		Example: `  graf memory search 'how much RAM may a pod use?'
  graf memory search 'rollout loses requests' --namespace shop --kind outcome --since 720h`,
		Args: arguments(1, 1, "a text: put it into quotes"),
		RunE: func(cmd *cobra.Command, given []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			search.Text, search.Limit = given[0], &limit
			if kind != "" {
				search.Kinds = []graf.MemoryKind{graf.MemoryKind(kind)}
			}
			if since > 0 {
				search.Since = new(time.Now().Add(-since))
			}
			results, err := a.search(cmd, client, search, task)
			if err != nil {
				return err
			}
			return a.show(results, func() error { return a.listMemories(results) })
		},
	}
	flags := command.Flags()
	flags.IntVar(&limit, "limit", 10, "the most results")
	flags.StringVarP(&search.Namespace, "namespace", "n", "", "only about resources in this namespace")
	flags.StringVar(&search.ResourceKind, "resource-kind", "", "only about resources of this kind, such as Deployment")
	flags.StringVar(&search.Project, "project", "", "only of tasks of this project")
	flags.StringArrayVar(&search.Tags, "tag", nil, "only of tasks with this tag; may be repeated")
	flags.StringVar(&kind, "kind", "", "only of this kind: prompt, before, after, diff, event or outcome")
	flags.DurationVar(&since, "since", 0, "only of this last time, such as 720h")
	flags.StringVar(&task, "task", "", "as the agent of this task would be answered, with its own memories")
	return command
}

// search asks over all tasks, or as one task.
func (a *app) search(cmd *cobra.Command, client *graf.Client, search graf.MemorySearch, task string) (graf.MemoryResults, error) {
	if task == "" {
		return client.SearchMemory(cmd.Context(), search)
	}
	id, err := taskID(task)
	if err != nil {
		return graf.MemoryResults{}, err
	}
	if search.Project != "" || len(search.Kinds) > 0 || search.Since != nil {
		return graf.MemoryResults{}, usage("--project, --kind and --since are for searches without --task")
	}
	return client.QueryTaskMemory(cmd.Context(), id, graf.MemoryQuery{
		Text: search.Text, Limit: search.Limit, Namespace: search.Namespace, ResourceKind: search.ResourceKind, Tags: search.Tags,
		IncludeOwn: true,
	})
}

func (a *app) listMemories(results graf.MemoryResults) error {
	if results.Recall.Mode != graf.RecallModeHybrid {
		_, _ = fmt.Fprintf(a.err, "searched %s: %s\n", results.Recall.Mode, printable(results.Recall.Reason))
	}
	rows := [][]string{{"MEMORY", "SCORE", "KIND", "TASK", "AGE", "SNIPPET"}}
	for _, result := range results.Results {
		snippet := strings.Join(strings.Fields(result.Snippet), " ")
		rows = append(rows, []string{
			result.MemoryID.String(), fmt.Sprintf("%.2f", result.Score), string(result.Source.Kind), result.Source.TaskID.String(),
			age(result.CreatedAt), clip(snippet, 60),
		})
	}
	return a.table(rows)
}

func (a *app) memoryShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show MEMORY",
		Short:   "Show a memory in full, with where it comes from",
		Example: "  graf memory show 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d",
		Args:    arguments(1, 1, "the id of a memory"),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := parseID(given[0], noMemory)
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			memory, err := client.Memory(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.show(memory, func() error {
				err := a.table([][]string{
					{"MEMORY", memory.MemoryID.String()}, {"KIND", string(memory.Source.Kind)}, {"TASK", memory.Source.TaskID.String()},
					{"CALLER", memory.Caller}, {"RECALLED", fmt.Sprintf("by %d attempts", memory.Recalls)}, {"AGE", age(memory.CreatedAt)},
				})
				if err != nil {
					return err
				}
				return a.line("\n%s", printableLines(memory.Content))
			})
		},
	}
}

func (a *app) memoryForgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "forget MEMORY",
		Short:   "Have a memory forgotten, for good",
		Example: "  graf memory forget 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d",
		Args:    arguments(1, 1, "the id of a memory"),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := parseID(given[0], noMemory)
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.ForgetMemory(cmd.Context(), id); err != nil {
				return err
			}
			return a.show(map[string]string{"memoryId": id.String()}, func() error { return a.line("%s is forgotten", id) })
		},
	}
}
