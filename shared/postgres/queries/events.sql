-- name: GetTerminalReport :one
-- GetTerminalReport reads the last completed or failed event of an attempt.
SELECT event_type, content FROM codex_task_events
WHERE task_id = $1 AND attempt = $2 AND event_type IN ('completed', 'failed')
ORDER BY sequence DESC LIMIT 1;
