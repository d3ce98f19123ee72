-- name: GetBeforeManifests :one
-- GetBeforeManifests reads the resources as they were before the task.
SELECT manifests FROM codex_task_snapshots
WHERE task_id = $1 AND type = 'before' AND manifests IS NOT NULL
ORDER BY created_at LIMIT 1;
