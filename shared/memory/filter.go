package memory

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// filter is the condition on a row m for q's filters; TRUE without any. Only
// those in use are named, so that the planner estimates what is asked.
func (q Query) filter(arguments pgx.NamedArgs) string {
	conditions := []string{"TRUE"}
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
	if q.ExcludeTask != nil {
		add("m.task_id <> @exclude_task", "exclude_task", *q.ExcludeTask)
	}
	return strings.Join(conditions, " AND ")
}
