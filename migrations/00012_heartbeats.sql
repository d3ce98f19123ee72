-- +goose Up
-- When the agent of the attempt last said that it lives: its heartbeats are no events.
ALTER TABLE codex_task_attempts ADD COLUMN last_seen_at timestamptz;

-- +goose Down
ALTER TABLE codex_task_attempts DROP COLUMN last_seen_at;
