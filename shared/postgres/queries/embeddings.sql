-- name: PendingContents :many
-- PendingContents lists a task's texts that lack a vector of the model, those of
-- its prompt first.
SELECT c.content_hash, c.content, m.is_prompt
FROM (SELECT content_hash, bool_or(kind = 'prompt')::boolean AS is_prompt, min(ordinal) AS ordinal
      FROM codex_task_memory_index WHERE task_id = @task_id AND forgotten_at IS NULL GROUP BY content_hash) AS m
JOIN codex_memory_contents c ON c.content_hash = m.content_hash
WHERE c.embedded_as IS DISTINCT FROM @model_key::text AND c.embedding_error IS NULL
ORDER BY m.is_prompt DESC, m.ordinal LIMIT @max_rows;

-- name: PendingTasks :many
-- PendingTasks lists tasks with texts that have waited longer than min_age.
SELECT m.task_id
FROM codex_memory_contents c
JOIN LATERAL (SELECT i.task_id FROM codex_task_memory_index i
              WHERE i.content_hash = c.content_hash AND i.forgotten_at IS NULL LIMIT 1) AS m ON true
WHERE c.embedded_as IS NULL AND c.embedding_error IS NULL AND c.created_at <= now() - @min_age::interval
GROUP BY m.task_id ORDER BY min(c.created_at) LIMIT @max_rows;

-- name: OutdatedContents :many
-- OutdatedContents lists texts whose last vector was made by another model.
-- Below or above, not unequal: these two the index can look up.
SELECT c.content_hash, c.content FROM codex_memory_contents c
WHERE (c.embedded_as < @model_key::text OR c.embedded_as > @model_key::text) AND c.embedding_error IS NULL
LIMIT @max_rows;

-- name: ClaimContents :many
-- ClaimContents takes those of the contents that nobody else is embedding. In
-- one order for all, so that two who claim the same do not wait for each other.
INSERT INTO codex_embedding_claims (content_hash, model, dimension, claimed_until)
SELECT hash, @model::text, @dimension::integer, now() + @lease::interval
FROM unnest(@content_hashes::bytea[]) AS hash ORDER BY hash
ON CONFLICT (content_hash, model, dimension) DO UPDATE SET claimed_until = excluded.claimed_until
    WHERE codex_embedding_claims.claimed_until < now()
RETURNING content_hash;

-- name: EmbeddedContents :many
-- EmbeddedContents lists those of the contents that have a vector of the model.
SELECT content_hash FROM codex_embeddings
WHERE content_hash = ANY(@content_hashes::bytea[]) AND model = @model AND dimension = @dimension;

-- name: ReleaseContents :exec
-- ReleaseContents gives claims back, in the order in which they are taken.
WITH released AS (
    SELECT content_hash FROM codex_embedding_claims
    WHERE content_hash = ANY(@content_hashes::bytea[]) AND model = @model AND dimension = @dimension
    ORDER BY content_hash FOR UPDATE)
DELETE FROM codex_embedding_claims c USING released
WHERE c.content_hash = released.content_hash AND c.model = @model AND c.dimension = @dimension;

-- name: InsertEmbeddings :exec
INSERT INTO codex_embeddings (content_hash, model, dimension, embedding)
SELECT unnest(@content_hashes::bytea[]), @model::text, @dimension::integer,
       unnest(@embeddings::text[])::halfvec
ON CONFLICT DO NOTHING;

-- name: MarkEmbedded :exec
UPDATE codex_memory_contents SET embedded_as = @model::text || '@' || @dimension::integer, embedding_error = NULL
WHERE content_hash = ANY(@content_hashes::bytea[]);

-- name: MarkContentsFailed :exec
-- MarkContentsFailed gives up on texts that the model refuses.
UPDATE codex_memory_contents SET embedding_error = @reason::text
WHERE content_hash = ANY(@content_hashes::bytea[]);

-- name: MarkTaskFailed :execrows
-- MarkTaskFailed gives up on a task's texts after the last retry.
UPDATE codex_memory_contents SET embedding_error = @reason::text
WHERE content_hash IN (SELECT m.content_hash FROM codex_task_memory_index m
                       WHERE m.task_id = @task_id AND m.forgotten_at IS NULL)
  AND embedded_as IS NULL AND embedding_error IS NULL;

-- name: ReviveTask :exec
-- ReviveTask lets a task's texts that were given up wait for their vectors again.
UPDATE codex_memory_contents SET embedding_error = NULL
WHERE content_hash IN (SELECT m.content_hash FROM codex_task_memory_index m
                       WHERE m.task_id = @task_id AND m.forgotten_at IS NULL)
  AND embedding_error IS NOT NULL;

-- name: CountPending :one
-- CountPending counts texts, up to a bound, that have waited longer than min_age.
SELECT count(*) FROM (
    SELECT FROM codex_memory_contents c
    WHERE c.embedded_as IS NULL AND c.embedding_error IS NULL AND c.created_at <= now() - @min_age::interval
      AND EXISTS (SELECT FROM codex_task_memory_index m
                  WHERE m.content_hash = c.content_hash AND m.forgotten_at IS NULL)
    LIMIT 1000) AS pending;

-- name: GetPromptVector :one
-- GetPromptVector reads the vector of the start of a task's prompt.
SELECT e.embedding FROM codex_task_memory_index m
JOIN codex_embeddings e ON e.content_hash = m.content_hash AND e.model = @model AND e.dimension = @dimension
WHERE m.task_id = @task_id AND m.kind = 'prompt' AND m.ordinal = 0;
