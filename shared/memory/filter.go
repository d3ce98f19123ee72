package memory

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// indexedFilter is the condition on a row m for those of q's filters that the
// index codex_task_memory_index_filters serves; empty without such a filter.
func (q Query) indexedFilter(arguments pgx.NamedArgs) string {
	var conditions []string
	if q.Namespace != "" {
		conditions = append(conditions, "m.namespaces @> @namespaces")
		arguments["namespaces"] = []string{q.Namespace}
	}
	if q.ResourceKind != "" {
		conditions = append(conditions, "m.resource_kinds @> @resource_kinds")
		arguments["resource_kinds"] = []string{q.ResourceKind}
	}
	if len(q.Tags) > 0 {
		conditions = append(conditions, "m.tags @> @tags")
		arguments["tags"] = q.Tags
	}
	return strings.Join(conditions, " AND ")
}

// filter is the condition for all of q's filters; TRUE without any. Only those
// in use are named, so that the planner estimates what is asked.
func (q Query) filter(arguments pgx.NamedArgs) string {
	conditions := []string{"TRUE"}
	if indexed := q.indexedFilter(arguments); indexed != "" {
		conditions = append(conditions, indexed)
	}
	if q.OnlyKinds != nil {
		conditions = append(conditions, "m.kind = ANY(@kinds)")
		arguments["kinds"] = q.OnlyKinds
	}
	if q.ExcludeTask != nil {
		conditions = append(conditions, "m.task_id <> @exclude_task")
		arguments["exclude_task"] = *q.ExcludeTask
	}
	return strings.Join(conditions, " AND ")
}
