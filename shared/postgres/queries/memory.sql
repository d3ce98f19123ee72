-- name: InsertMemories :exec
-- InsertMemories adds memories; one that is there already (same task, kind and
-- ordinal) is left as it is.
INSERT INTO codex_task_memory_index
    (id, kind, ordinal, content, content_hash, metadata,
     task_id, namespaces, resource_kinds, tags)
SELECT unnest(@ids::uuid[]), unnest(@kinds::text[]), unnest(@ordinals::bigint[]),
       unnest(@contents::text[]), unnest(@content_hashes::bytea[]), unnest(@metadatas::jsonb[]),
       @task_id::uuid, @namespaces::text[], @resource_kinds::text[], @tags::text[]
ON CONFLICT (task_id, kind, ordinal) DO NOTHING;
