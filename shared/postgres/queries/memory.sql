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
