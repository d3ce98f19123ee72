-- Built while tasks go on, as there may be many events, and so in no transaction.
-- +goose NO TRANSACTION

-- +goose Up
-- What a build that was cut off has left is of no use.
DROP INDEX CONCURRENTLY IF EXISTS codex_task_events_usage;
-- A task has few of these among its many events, and each look at the task adds them up.
CREATE INDEX CONCURRENTLY codex_task_events_usage ON codex_task_events (task_id) WHERE event_type = 'usage';

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS codex_task_events_usage;
