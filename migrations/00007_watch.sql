-- +goose Up
-- finalize tells of a task's resources and executions among the events that its
-- agent reports; no agent can send these.
ALTER TABLE codex_task_events
    DROP CONSTRAINT codex_task_events_event_type_check,
    ADD CONSTRAINT codex_task_events_event_type_check CHECK (event_type IN
        ('started', 'progress', 'log', 'artifact', 'snapshot', 'usage', 'completed', 'failed', 'resource'));

-- What was told last of a resource, and how often anything was: few among many events.
CREATE INDEX codex_task_events_resource ON codex_task_events (task_id, sequence) WHERE event_type = 'resource';

-- From a resource that has changed to the tasks under way that may read it. Most
-- tasks name none, and those that have ended are not asked for.
CREATE INDEX codex_tasks_active_grants ON codex_tasks USING gin (grants jsonb_path_ops)
    WHERE status IN ('launching', 'running', 'finalizing') AND grants <> '[]';

-- +goose Down
DROP INDEX codex_tasks_active_grants, codex_task_events_resource;
-- The tasks' event numbers have holes from then on.
DELETE FROM codex_task_events WHERE event_type = 'resource';
ALTER TABLE codex_task_events
    DROP CONSTRAINT codex_task_events_event_type_check,
    ADD CONSTRAINT codex_task_events_event_type_check CHECK (event_type IN ('started', 'progress', 'log', 'artifact', 'snapshot',
                              'usage', 'completed', 'failed'));
