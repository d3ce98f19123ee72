-- name: InsertMemories :exec
-- InsertMemories adds memories; one that is there already (same task, kind and
-- ordinal) is left as it is. In the order of the hashes, so that two who write
-- the same texts do not deadlock. DO NOTHING, because DO UPDATE locks the row of
-- a text whether it changes it or not, and many tasks say the same; a text that
-- was given up is tried again by itself.
WITH revived AS (
    UPDATE codex_memory_contents SET embedding_error = NULL
    WHERE content_hash = ANY(@content_hashes::bytea[]) AND embedding_error IS NOT NULL),
contents AS (
    INSERT INTO codex_memory_contents (content_hash, content)
    SELECT DISTINCT ON (c.content_hash) c.content_hash, c.content
    FROM (SELECT unnest(@content_hashes::bytea[]) AS content_hash, unnest(@contents::text[]) AS content) AS c
    ORDER BY c.content_hash
    ON CONFLICT (content_hash) DO NOTHING)
INSERT INTO codex_task_memory_index
    (id, kind, ordinal, content_hash, metadata,
     task_id, namespaces, resource_kinds, tags)
SELECT unnest(@ids::uuid[]), unnest(@kinds::text[]), unnest(@ordinals::bigint[]),
       unnest(@content_hashes::bytea[]), unnest(@metadatas::jsonb[]),
       @task_id::uuid, @namespaces::text[], @resource_kinds::text[], @tags::text[]
ON CONFLICT (task_id, kind, ordinal) DO NOTHING;

-- name: GetMemory :one
-- GetMemory reads a memory with its task; no row for one that is forgotten.
SELECT m.id, m.task_id, m.kind, m.ordinal, m.namespaces, m.resource_kinds, m.tags, m.metadata, m.created_at,
       c.content, c.embedded_as, c.embedding_error, t.caller, t.project,
       (SELECT count(*) FROM codex_task_recalls r WHERE r.memory_id = m.id) AS recalls
FROM codex_task_memory_index m
JOIN codex_memory_contents c ON c.content_hash = m.content_hash
JOIN codex_tasks t ON t.id = m.task_id
WHERE m.id = $1 AND m.forgotten_at IS NULL;

-- name: LockMemory :one
-- LockMemory tells whose memory it is, and whether it is forgotten, and holds it.
SELECT t.caller, (m.forgotten_at IS NOT NULL)::boolean AS forgotten
FROM codex_task_memory_index m JOIN codex_tasks t ON t.id = m.task_id
WHERE m.id = $1 FOR UPDATE OF m;

-- name: ForgetMemory :exec
-- ForgetMemory takes a memory out of every search, with its audit.
WITH forgotten AS (
    UPDATE codex_task_memory_index m SET forgotten_at = now() WHERE m.id = @id AND m.forgotten_at IS NULL RETURNING m.id)
INSERT INTO codex_operations (actor, operation, subject) SELECT @actor, 'memory.forget', forgotten.id FROM forgotten;

-- name: GetLastOutcome :one
-- GetLastOutcome reads what came of a task's last attempt.
SELECT m.id, m.task_id, m.kind, m.metadata, m.created_at, c.content
FROM codex_task_memory_index m JOIN codex_memory_contents c ON c.content_hash = m.content_hash
WHERE m.task_id = $1 AND m.kind = 'outcome' AND m.forgotten_at IS NULL
ORDER BY m.ordinal / 1000 DESC, m.ordinal LIMIT 1;
