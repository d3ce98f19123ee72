-- +goose Up
-- Events that a committed change announces and the Broker has not yet taken.
-- A row is born claimed by the process that wrote it, which publishes it right
-- after the commit and deletes it; if that process dies, the claim runs out
-- and the sweep publishes the row.
CREATE TABLE codex_outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event         jsonb NOT NULL,
    claimed_until timestamptz NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX codex_outbox_claimed_until ON codex_outbox (claimed_until);

-- Events that no subscriber took: the end of the Broker's and of our own
-- retries. They are kept with the reason until somebody replays or drops them.
CREATE TABLE codex_dead_letters (
    id          uuid PRIMARY KEY,
    -- CloudEvents' identity is source and id; one event may be dead-lettered
    -- once for each subscriber that refused it.
    event_id    text NOT NULL,
    source      text NOT NULL,
    type        text NOT NULL,
    subject     text NOT NULL DEFAULT '',
    destination text NOT NULL DEFAULT '',
    error_code  integer,
    error       text NOT NULL DEFAULT '',
    -- json, not jsonb: it stays as it was sent, U+0000 and all.
    event       json NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (source, event_id, destination)
);
CREATE INDEX codex_dead_letters_created ON codex_dead_letters (created_at);

-- +goose Down
DROP TABLE codex_dead_letters, codex_outbox;
