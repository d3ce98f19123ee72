-- +goose Up
-- Requests for actions that callback carries out: what a task has left is read when none of its own is.
CREATE TABLE codex_task_acting (
    id      uuid PRIMARY KEY,
    task_id uuid NOT NULL REFERENCES codex_tasks,
    -- Should callback die it is over by then.
    until   timestamptz NOT NULL
);
CREATE INDEX codex_task_acting_task ON codex_task_acting (task_id);

ALTER TABLE codex_task_manifests
    -- Until when a launch that applies them has them to itself.
    ADD COLUMN applying_until timestamptz,
    -- They are applied once: the agent may have changed the same resources since.
    ADD COLUMN applied_at     timestamptz;
-- Those of tasks that were launched already are applied.
UPDATE codex_task_manifests m SET applied_at = now() FROM codex_tasks t
WHERE t.id = m.task_id AND t.status NOT IN ('awaiting_approval', 'queued', 'launching');

-- +goose Down
ALTER TABLE codex_task_manifests DROP COLUMN applying_until, DROP COLUMN applied_at;
DROP TABLE codex_task_acting;
