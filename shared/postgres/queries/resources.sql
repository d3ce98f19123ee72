-- name: ListReaders :many
-- ListReaders lists the tasks under way whose grants have a target of a kind in a
-- namespace, or in the whole cluster: those that may have to do with one resource.
-- in_namespace and in_cluster are [{"kind": …, "namespace": …}] and [{"kind": …}].
SELECT id, grants FROM codex_tasks
WHERE status IN ('launching', 'running', 'finalizing') AND grants <> '[]'
  AND (grants @> @in_namespace::jsonb
       OR (grants @> @in_cluster::jsonb AND EXISTS (
           SELECT FROM jsonb_array_elements(grants) AS g
           WHERE jsonb_build_array(g) @> @in_cluster::jsonb AND NOT jsonb_exists(g, 'namespace'))))
ORDER BY id;

-- name: ListLastNotes :many
-- ListLastNotes reads what was told last of a resource, {"kind": …, "name": …}, to
-- each of the tasks that were told anything of it.
SELECT DISTINCT ON (task_id) task_id, sequence, content FROM codex_task_events
WHERE event_type = 'resource' AND task_id = ANY(@task_ids::uuid[]) AND content @> @resource::jsonb
ORDER BY task_id, sequence DESC;

-- name: CountNotes :one
-- CountNotes counts what a task was told of resources, and gives the number of the
-- last event of one of them; 0 for none. The caller holds the task's row.
SELECT count(*) AS notes,
       coalesce(max(sequence) FILTER (WHERE content @> @resource::jsonb), 0)::bigint AS last_sequence
FROM codex_task_events WHERE event_type = 'resource' AND task_id = @task_id;
