-- name: InsertDeadLetter :exec
-- InsertDeadLetter keeps an event that nobody took; the same one again for the
-- same subscriber changes nothing.
INSERT INTO codex_dead_letters (id, event_id, source, type, subject, destination, error_code, error, event)
VALUES (@id, @event_id, @source, @type, @subject, @destination, @error_code, @error, @event)
ON CONFLICT (source, event_id, destination) DO NOTHING;
