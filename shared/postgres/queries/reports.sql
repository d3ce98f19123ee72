-- name: FindReporter :one
-- FindReporter tells whose token it is, who was given it, the salt for the
-- digests of that task's Secrets, and what the task may use.
SELECT t.token_hash, t.task_id, t.issued_to, k.manifest_salt, k.budget_tokens, k.budget_usd
FROM codex_task_tokens t JOIN codex_tasks k ON k.id = t.task_id
WHERE t.token_hash = $1;

-- name: InsertReport :exec
-- InsertReport stores a report in one round trip: its events with their
-- artifacts and snapshots, and the last sequence number that it used. The
-- caller holds the task's row.
WITH events AS (
    INSERT INTO codex_task_events (task_id, attempt, sequence, event_id, event_type, content, occurred_at)
    SELECT @task_id::uuid, @attempt::smallint, unnest(@sequences::bigint[]), unnest(@event_ids::text[]),
           unnest(@event_types::text[]), unnest(@contents::jsonb[]), unnest(@occurred_ats::timestamptz[])
), artifacts AS (
    INSERT INTO codex_task_artifacts
        (task_id, id, event_sequence, name, content_type, size_bytes, sha256, object_key)
    SELECT @task_id::uuid, unnest(@artifact_ids::uuid[]), unnest(@artifact_sequences::bigint[]),
           unnest(@artifact_names::text[]), unnest(@artifact_content_types::text[]),
           unnest(@artifact_sizes::bigint[]), unnest(@artifact_digests::bytea[]), unnest(@artifact_keys::text[])
), snapshots AS (
    INSERT INTO codex_task_snapshots (task_id, attempt, id, event_sequence, type, manifests, diff, digest)
    SELECT @task_id::uuid, @attempt::smallint, s.id, s.event_sequence, s.type, s.manifests, nullif(s.diff, ''), s.digest
    FROM (SELECT unnest(@snapshot_ids::uuid[]) AS id, unnest(@snapshot_sequences::bigint[]) AS event_sequence,
                 unnest(@snapshot_types::text[]) AS type, unnest(@snapshot_manifests::json[]) AS manifests,
                 unnest(@snapshot_diffs::text[]) AS diff, unnest(@snapshot_digests::text[]) AS digest) AS s
)
UPDATE codex_tasks SET last_event_sequence = @last_sequence, updated_by = @updated_by WHERE id = @task_id::uuid;

-- name: ListUploads :many
-- ListUploads lists those artifacts of the events that were not checked yet.
SELECT a.event_sequence::bigint AS event_sequence, a.id, a.name, a.content_type, a.size_bytes, a.sha256, a.object_key
FROM codex_task_artifacts a
WHERE a.task_id = @task_id AND a.event_sequence = ANY(@sequences::bigint[]) AND a.status = 'pending'
ORDER BY a.event_sequence, a.id;

-- name: GetTaskStatus :one
SELECT status FROM codex_tasks WHERE id = $1;

-- name: SeeAttempt :execrows
-- SeeAttempt notes that the agent of an attempt lives; attempt 0 is the present one. No row: it does not run.
UPDATE codex_task_attempts a SET last_seen_at = clock_timestamp()
FROM codex_tasks t
WHERE t.id = @task_id AND t.status IN ('launching', 'running', 'finalizing') AND @attempt::smallint IN (0, t.attempt)
  AND a.task_id = t.id AND a.attempt = t.attempt AND a.finished_at IS NULL;
