-- name: InsertDeadLetter :exec
-- InsertDeadLetter keeps an event that nobody took; the same one again for the
-- same subscriber changes nothing, unless it was replayed in between.
INSERT INTO codex_dead_letters (id, event_id, source, type, subject, destination, error_code, error, event, replay_of)
VALUES (@id, @event_id, @source, @type, @subject, @destination, @error_code, @error, @event, sqlc.narg(replay_of))
ON CONFLICT (source, event_id, destination, replay_of) DO NOTHING;

-- name: GetDeadLetter :one
SELECT l.*, ARRAY(SELECT r.id FROM codex_dead_letters r WHERE r.replay_of = l.id ORDER BY r.id)::uuid[] AS replays
FROM codex_dead_letters l WHERE l.id = $1;

-- name: ReplayDeadLetter :execrows
-- ReplayDeadLetter marks a letter as sent again, the first time, with its audit.
WITH replayed AS (
    UPDATE codex_dead_letters l SET replayed_at = now(), replayed_by = @actor::text
    WHERE l.id = @id AND l.replayed_at IS NULL RETURNING l.id)
INSERT INTO codex_operations (actor, operation, subject) SELECT @actor::text, 'dead_letter.replay', replayed.id FROM replayed;
