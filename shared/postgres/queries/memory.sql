-- name: InsertMemories :exec
-- InsertMemories adds memories; one that is there already (same task, kind and
-- ordinal) is left as it is. A text that was given up is tried again. In the
-- order of the hashes, so that two who write the same texts do not deadlock.
WITH contents AS (
    INSERT INTO codex_memory_contents (content_hash, content)
    SELECT DISTINCT ON (c.content_hash) c.content_hash, c.content
    FROM (SELECT unnest(@content_hashes::bytea[]) AS content_hash, unnest(@contents::text[]) AS content) AS c
    ORDER BY c.content_hash
    ON CONFLICT (content_hash) DO UPDATE SET embedding_error = NULL
        WHERE codex_memory_contents.embedding_error IS NOT NULL)
INSERT INTO codex_task_memory_index
    (id, kind, ordinal, content_hash, metadata,
     task_id, namespaces, resource_kinds, tags)
SELECT unnest(@ids::uuid[]), unnest(@kinds::text[]), unnest(@ordinals::bigint[]),
       unnest(@content_hashes::bytea[]), unnest(@metadatas::jsonb[]),
       @task_id::uuid, @namespaces::text[], @resource_kinds::text[], @tags::text[]
ON CONFLICT (task_id, kind, ordinal) DO NOTHING;
