-- +goose Up
-- What an attempt's container wrote is kept as an artifact, too: one that Graf
-- made and no event announced.
ALTER TABLE codex_task_artifacts
    ALTER COLUMN event_sequence DROP NOT NULL,
    ADD COLUMN source  text NOT NULL DEFAULT 'agent' CHECK (source IN ('agent', 'graf')),
    -- The attempt of an artifact of Graf's; of an agent's its event says it.
    ADD COLUMN attempt smallint,
    ADD CONSTRAINT codex_task_artifacts_origin
        CHECK ((source = 'agent') = (event_sequence IS NOT NULL) AND (source = 'graf') = (attempt IS NOT NULL));
-- One log for each attempt, however often its end is brought about.
CREATE UNIQUE INDEX codex_task_artifacts_log ON codex_task_artifacts (task_id, attempt) WHERE source = 'graf';

-- Requests to undo that nobody has carried out yet, for the sweep.
CREATE INDEX codex_undos_requested ON codex_undos (requested_at) WHERE status = 'requested';

-- +goose Down
DROP INDEX codex_undos_requested;
-- The objects of the logs stay in object storage, under tasks/ID/artifacts/.
DELETE FROM codex_task_artifacts WHERE source = 'graf';
DROP INDEX codex_task_artifacts_log;
ALTER TABLE codex_task_artifacts
    DROP CONSTRAINT codex_task_artifacts_origin,
    DROP COLUMN source, DROP COLUMN attempt,
    ALTER COLUMN event_sequence SET NOT NULL;
