-- +goose Up
-- The audit of what people do to memories and dead letters; that of tasks is
-- codex_task_transitions.
CREATE TABLE codex_operations (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor       text NOT NULL,
    operation   text NOT NULL CHECK (operation IN ('memory.forget', 'dead_letter.replay')),
    -- The memory or the dead letter.
    subject     uuid NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX codex_operations_subject ON codex_operations (subject);
CREATE TRIGGER codex_operations_append_only BEFORE UPDATE OR DELETE ON codex_operations
    FOR EACH ROW EXECUTE FUNCTION codex_refuse_change();
CREATE TRIGGER codex_operations_no_truncate BEFORE TRUNCATE ON codex_operations
    FOR EACH STATEMENT EXECUTE FUNCTION codex_refuse_change();

-- A memory that is forgotten keeps its row, without which the next writing of
-- the same part of the task would bring it back.
ALTER TABLE codex_task_memory_index ADD COLUMN forgotten_at timestamptz;

ALTER TABLE codex_dead_letters
    ADD COLUMN replayed_at timestamptz,
    ADD COLUMN replayed_by text,
    -- The letter whose event, sent again, died again as this one. No foreign
    -- key: letters may be dropped one by one.
    ADD COLUMN replay_of   uuid,
    DROP CONSTRAINT codex_dead_letters_source_event_id_destination_key,
    -- One event is kept once for each subscriber and each time that it was sent.
    ADD CONSTRAINT codex_dead_letters_once UNIQUE NULLS NOT DISTINCT (source, event_id, destination, replay_of);
CREATE INDEX codex_dead_letters_replay_of ON codex_dead_letters (replay_of) WHERE replay_of IS NOT NULL;

-- +goose Down
DROP INDEX codex_dead_letters_replay_of;
-- Without replays there is one letter for each event and subscriber.
DELETE FROM codex_dead_letters WHERE replay_of IS NOT NULL;
ALTER TABLE codex_dead_letters
    DROP CONSTRAINT codex_dead_letters_once,
    ADD CONSTRAINT codex_dead_letters_source_event_id_destination_key UNIQUE (source, event_id, destination),
    DROP COLUMN replayed_at, DROP COLUMN replayed_by, DROP COLUMN replay_of;
ALTER TABLE codex_task_memory_index DROP COLUMN forgotten_at;
DROP TABLE codex_operations;
