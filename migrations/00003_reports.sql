-- +goose Up
-- What executions report by the callback function.
CREATE TABLE codex_task_events (
    task_id     uuid NOT NULL REFERENCES codex_tasks,
    -- 1, 2, 3 … within the task, without holes; allotted under the task's row lock.
    sequence    bigint NOT NULL,
    -- The client's own id: the same id again from the same attempt is the same event.
    event_id    text NOT NULL,
    event_type  text NOT NULL
        CHECK (event_type IN ('started', 'progress', 'log', 'artifact', 'snapshot',
                              'usage', 'completed', 'failed')),
    attempt     smallint NOT NULL,
    content     jsonb,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task_id, sequence),
    UNIQUE (task_id, attempt, event_id)
);

CREATE TABLE codex_task_artifacts (
    id             uuid PRIMARY KEY,
    task_id        uuid NOT NULL REFERENCES codex_tasks,
    event_sequence bigint NOT NULL,
    name           text NOT NULL,
    content_type   text NOT NULL,
    size_bytes     bigint NOT NULL,
    sha256         bytea NOT NULL,
    object_key     text NOT NULL UNIQUE,
    -- pending until the object's size and digest were checked.
    status         text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'verified', 'rejected')),
    status_reason  text NOT NULL DEFAULT '',
    created_at     timestamptz NOT NULL DEFAULT now(),
    verified_at    timestamptz
);
CREATE INDEX codex_task_artifacts_task ON codex_task_artifacts (task_id, event_sequence);

-- The state of the task's resources: before, as given at submission; after,
-- as the agent reported.
CREATE TABLE codex_task_snapshots (
    id             uuid PRIMARY KEY,
    task_id        uuid NOT NULL REFERENCES codex_tasks,
    type           text NOT NULL CHECK (type IN ('before', 'after')),
    attempt        smallint NOT NULL,
    -- The callback event that brought it; NULL for what came at submission.
    event_sequence bigint,
    -- Canonical manifests, an array of objects; or NULL where the agent sent
    -- a diff in their stead. json keeps the canonical bytes; jsonb would write
    -- 1e300 as 301 digits.
    manifests      json,
    diff           text,
    digest         text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX codex_task_snapshots_task ON codex_task_snapshots (task_id, type, created_at);
-- From an event to what it brought.
CREATE INDEX codex_task_snapshots_event ON codex_task_snapshots (task_id, event_sequence);

-- +goose Down
DROP TABLE codex_task_snapshots, codex_task_artifacts, codex_task_events;
