-- name: InsertSubmission :many
-- InsertSubmission stores a new task with its token and its snapshot, each if
-- there is one, in one round trip. It returns no row when the caller's
-- idempotency key is taken; then nothing was stored.
WITH task AS (
    INSERT INTO codex_tasks
        (id, caller, idempotency_key, request_digest, updated_by, prompt, target_resources,
         namespaces, resource_kinds, orchestration_mode, agent, priority, timeout_seconds,
         max_attempts, tags, metadata, manifest_salt, trace_parent,
         status, project, policy_version, policy_rule, grants, retry_of, budget_tokens, budget_usd)
    VALUES
        (@id, @caller, @idempotency_key, @request_digest, @updated_by, @prompt, @target_resources,
         @namespaces::text[], @resource_kinds::text[], @orchestration_mode, @agent, @priority, @timeout_seconds,
         @max_attempts, @tags::text[], @metadata, @manifest_salt, @trace_parent,
         @status, @project, sqlc.narg(policy_version), @policy_rule, @grants,
         sqlc.narg(retry_of), sqlc.narg(budget_tokens), sqlc.narg(budget_usd))
    ON CONFLICT (caller, idempotency_key) DO NOTHING
    RETURNING id, created_at
), token AS (
    INSERT INTO codex_task_tokens (token_hash, task_id, issued_to)
    SELECT sqlc.narg(token_hash)::bytea, task.id, 'submitter' FROM task
    WHERE sqlc.narg(token_hash)::bytea IS NOT NULL
), snapshot AS (
    INSERT INTO codex_task_snapshots (id, task_id, type, attempt, manifests, digest)
    SELECT @snapshot_id, task.id, 'before', 0, sqlc.narg(snapshot_manifests)::json, @snapshot_digest FROM task
    WHERE sqlc.narg(snapshot_manifests)::json IS NOT NULL
), applied AS (
    INSERT INTO codex_task_manifests (task_id, manifests)
    SELECT task.id, sqlc.narg(apply_manifests)::json FROM task
    WHERE sqlc.narg(apply_manifests)::json IS NOT NULL
), approvals AS (
    INSERT INTO codex_approvals (id, task_id, subject, description, rule, policy_version, approvers, reason)
    SELECT a.id, task.id, a.subject, a.description, a.rule, sqlc.narg(policy_version)::text, a.approvers, a.reason
    FROM task, jsonb_to_recordset(@approvals::jsonb)
        AS a (id uuid, subject text, description text, rule text, approvers text[], reason text)
)
SELECT task.created_at FROM task;

-- name: FindSubmission :one
SELECT id, status, request_digest, created_at,
       (status IN ('succeeded', 'failed', 'cancelled', 'timed_out'))::boolean AS ended
FROM codex_tasks WHERE caller = $1 AND idempotency_key = $2;

-- name: ReplaceOldSubmitterTokens :exec
-- ReplaceOldSubmitterTokens adds a token for a repeated submission and forgets
-- the oldest ones over the bound. Those before stay good: the sender of the
-- first answer and of the repetition may both be at work.
WITH forgotten AS (
    DELETE FROM codex_task_tokens WHERE token_hash IN (
        SELECT t.token_hash FROM codex_task_tokens t
        WHERE t.task_id = @task_id AND t.issued_to = 'submitter'
        ORDER BY t.created_at DESC OFFSET @kept)
)
INSERT INTO codex_task_tokens (token_hash, task_id, issued_to)
VALUES (@token_hash, @task_id, 'submitter');

-- name: CancelQueuedTask :one
-- CancelQueuedTask ends a task that waits; the caller holds its row.
UPDATE codex_tasks SET status = 'cancelled', updated_by = @updated_by,
    cancel_requested_at = coalesce(cancel_requested_at, now()),
    cancel_requested_by = coalesce(cancel_requested_by, @requested_by),
    cancel_reason = sqlc.narg(cancel_reason),
    failure_class = 'cancelled', failure_reason = @failure_reason
WHERE id = @id
RETURNING *;

-- name: RequestTaskCancel :exec
-- RequestTaskCancel marks a task that runs; the caller holds its row.
UPDATE codex_tasks SET updated_by = @updated_by, cancel_requested_at = now(),
    cancel_requested_by = @requested_by::text, cancel_reason = sqlc.narg(cancel_reason)
WHERE id = @id AND cancel_requested_at IS NULL;

-- name: ListTaskAttempts :many
SELECT attempt, recall_mode, recall_reason, execution_kind, execution_name, execution_namespace,
       execution_uid, exit_code, failure_class, failure_reason, launched_at, started_at,
       last_seen_at, finished_at
FROM codex_task_attempts WHERE task_id = $1 ORDER BY attempt;

-- name: ListLastTaskSnapshots :many
-- ListLastTaskSnapshots gives the newest snapshots, oldest first.
SELECT * FROM (
    SELECT s.id, s.type, s.attempt, s.manifests, s.diff, s.digest, s.created_at
    FROM codex_task_snapshots s WHERE s.task_id = @task_id
    ORDER BY s.created_at DESC, s.id DESC LIMIT @max_rows
) AS last ORDER BY created_at, id;

-- name: ListVerifiedArtifacts :many
-- ListVerifiedArtifacts lists artifacts in the order of their events, then the
-- logs, which a bound on the rows leaves out last.
SELECT * FROM (
    SELECT a.id, a.name, a.content_type, a.size_bytes, a.sha256, a.object_key, a.source, a.event_sequence,
           coalesce(a.attempt, e.attempt)::smallint AS attempt
    FROM codex_task_artifacts a
    LEFT JOIN codex_task_events e ON e.task_id = a.task_id AND e.sequence = a.event_sequence
    WHERE a.task_id = @task_id AND a.status = 'verified'
    ORDER BY a.source DESC, a.event_sequence, a.attempt, a.name, a.id LIMIT @max_rows
) AS listed ORDER BY source, event_sequence, attempt, name, id;

-- name: CountTaskMemories :many
-- CountTaskMemories tells how far the vectors of each part of a task are.
SELECT m.kind,
       count(*) FILTER (WHERE c.embedded_as IS NULL AND c.embedding_error IS NULL) AS pending,
       count(*) FILTER (WHERE c.embedded_as IS NULL AND c.embedding_error IS NOT NULL) AS failed
FROM codex_task_memory_index m JOIN codex_memory_contents c ON c.content_hash = m.content_hash
WHERE m.task_id = $1 AND m.forgotten_at IS NULL GROUP BY m.kind;

-- name: ListTaskRecalls :many
SELECT r.attempt, r.memory_id, r.score, c.content, m.task_id, m.kind
FROM codex_task_recalls r
JOIN codex_task_memory_index m ON m.id = r.memory_id
JOIN codex_memory_contents c ON c.content_hash = m.content_hash
WHERE r.task_id = @task_id AND m.forgotten_at IS NULL ORDER BY r.attempt, r.rank LIMIT @max_rows;

-- name: GetSubmittedManifests :one
-- GetSubmittedManifests reads the state before the run as the submitter gave it.
SELECT manifests FROM codex_task_snapshots
WHERE task_id = $1 AND type = 'before' AND attempt = 0 AND event_sequence IS NULL AND NOT live
LIMIT 1;
