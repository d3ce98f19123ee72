-- name: AppendOutbox :many
-- AppendOutbox stores events, claimed by their writer for the given time.
INSERT INTO codex_outbox (event, claimed_until)
SELECT unnest(@events::jsonb[]), now() + @claim::interval
RETURNING id;

-- name: ClaimOutbox :many
-- ClaimOutbox takes events whose writer did not publish them in time.
UPDATE codex_outbox SET claimed_until = now() + @claim::interval
WHERE id IN (SELECT o.id FROM codex_outbox o WHERE o.claimed_until < now()
             ORDER BY o.id LIMIT @max_rows FOR UPDATE SKIP LOCKED)
RETURNING id, event, created_at;

-- name: DeleteOutbox :exec
-- DeleteOutbox forgets events that the Broker has taken, or are dead letters. It does not wait for
-- the disk: should the deletion be lost, an event is sent twice, which every
-- consumer bears.
DELETE FROM codex_outbox
USING (SELECT set_config('synchronous_commit', 'off', true)) AS relaxed
WHERE id = ANY(@ids::bigint[]);
