-- name: LinkEmbedded :execrows
-- LinkEmbedded marks memories whose content already has its vector.
UPDATE codex_task_memory_index m SET embedded_as = @model::text || '@' || @dimension::integer
WHERE m.embedded_as IS NULL AND m.embedding_error IS NULL
  AND m.task_id = @task_id
  AND EXISTS (SELECT FROM codex_embeddings e
              WHERE e.content_hash = m.content_hash AND e.model = @model AND e.dimension = @dimension);

-- name: PendingContents :many
-- PendingContents lists a task's texts without a vector, those of its prompt first.
SELECT m.content_hash, min(m.content)::text AS content, bool_or(m.kind = 'prompt')::boolean AS is_prompt
FROM codex_task_memory_index m
WHERE m.task_id = @task_id AND m.embedded_as IS NULL AND m.embedding_error IS NULL
GROUP BY m.content_hash ORDER BY is_prompt DESC, min(m.ordinal) LIMIT @max_rows;

-- name: PendingTasks :many
-- PendingTasks lists tasks with texts that have waited longer than min_age.
SELECT m.task_id
FROM codex_task_memory_index m
WHERE m.embedded_as IS NULL AND m.embedding_error IS NULL AND m.created_at <= now() - @min_age::interval
GROUP BY m.task_id ORDER BY min(m.created_at) LIMIT @max_rows;

-- name: OutdatedContents :many
-- OutdatedContents lists texts whose last vector was made by another model.
-- Below or above, not unequal: these two the index can look up.
SELECT DISTINCT ON (o.content_hash) o.content_hash, o.content
FROM (SELECT m.content_hash, m.content FROM codex_task_memory_index m
      WHERE m.embedded_as < @model_key::text OR m.embedded_as > @model_key::text
      LIMIT @max_rows) AS o;

-- name: ClaimContents :many
-- ClaimContents takes those of the contents that nobody else is embedding.
INSERT INTO codex_embedding_claims (content_hash, model, dimension, claimed_until)
SELECT unnest(@content_hashes::bytea[]), @model::text, @dimension::integer, now() + @lease::interval
ON CONFLICT (content_hash, model, dimension) DO UPDATE SET claimed_until = excluded.claimed_until
    WHERE codex_embedding_claims.claimed_until < now()
RETURNING content_hash;

-- name: ReleaseContents :exec
DELETE FROM codex_embedding_claims
WHERE content_hash = ANY(@content_hashes::bytea[]) AND model = @model AND dimension = @dimension;

-- name: InsertEmbeddings :exec
INSERT INTO codex_embeddings (content_hash, model, dimension, embedding)
SELECT unnest(@content_hashes::bytea[]), @model::text, @dimension::integer,
       unnest(@embeddings::text[])::halfvec
ON CONFLICT DO NOTHING;

-- name: MarkEmbedded :exec
UPDATE codex_task_memory_index SET embedded_as = @model::text || '@' || @dimension::integer, embedding_error = NULL
WHERE content_hash = ANY(@content_hashes::bytea[]);

-- name: MarkContentsFailed :exec
-- MarkContentsFailed gives up on texts that the model refuses.
UPDATE codex_task_memory_index SET embedding_error = @reason::text
WHERE content_hash = ANY(@content_hashes::bytea[]) AND embedded_as IS NULL;

-- name: MarkTaskFailed :execrows
-- MarkTaskFailed gives up on a task's texts after the last retry.
UPDATE codex_task_memory_index SET embedding_error = @reason::text
WHERE task_id = @task_id AND embedded_as IS NULL AND embedding_error IS NULL;

-- name: ReviveTask :exec
-- ReviveTask lets a task's texts that were given up wait for their vectors again.
UPDATE codex_task_memory_index SET embedding_error = NULL
WHERE task_id = @task_id AND embedded_as IS NULL AND embedding_error IS NOT NULL;

-- name: CountPending :one
-- CountPending counts texts, up to a bound, that have waited longer than min_age.
SELECT count(*) FROM (
    SELECT FROM codex_task_memory_index
    WHERE embedded_as IS NULL AND embedding_error IS NULL
      AND created_at <= now() - @min_age::interval LIMIT 1000) AS pending;

-- name: GetPromptVector :one
-- GetPromptVector reads the vector of the start of a task's prompt.
SELECT e.embedding FROM codex_task_memory_index m
JOIN codex_embeddings e ON e.content_hash = m.content_hash AND e.model = @model AND e.dimension = @dimension
WHERE m.task_id = @task_id AND m.kind = 'prompt' AND m.ordinal = 0;
