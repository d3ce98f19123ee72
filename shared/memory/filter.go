package memory

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// filter is the condition on a row m for q's filters, beside that nobody forgot
// it. Only those in use are named, so that the planner estimates what is asked.
func (q Query) filter(arguments pgx.NamedArgs) string {
	conditions := []string{"m.forgotten_at IS NULL"}
	add := func(condition, name string, value any) {
		conditions = append(conditions, condition)
		arguments[name] = value
	}
	if q.Namespace != "" {
		add("m.namespaces @> @namespaces", "namespaces", []string{q.Namespace})
	}
	if q.ResourceKind != "" {
		add("m.resource_kinds @> @resource_kinds", "resource_kinds", []string{q.ResourceKind})
	}
	if len(q.Tags) > 0 {
		add("m.tags @> @tags", "tags", q.Tags)
	}
	if q.OnlyKinds != nil {
		add("m.kind = ANY(@kinds)", "kinds", q.OnlyKinds)
	}
	if q.Project != "" {
		add("EXISTS (SELECT FROM codex_tasks t WHERE t.id = m.task_id AND t.project = @project)", "project", q.Project)
	}
	if !q.Since.IsZero() {
		add("m.created_at >= @since", "since", q.Since)
	}
	if q.ExcludeTask != nil {
		add("m.task_id <> @exclude_task", "exclude_task", *q.ExcludeTask)
	}
	return strings.Join(conditions, " AND ")
}
