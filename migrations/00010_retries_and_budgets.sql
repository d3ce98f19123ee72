-- +goose Up
ALTER TABLE codex_tasks
    -- The ended task that this one runs again.
    ADD COLUMN retry_of      uuid REFERENCES codex_tasks,
    -- What all attempts together may use; NULL: as much as they like.
    ADD COLUMN budget_tokens bigint CHECK (budget_tokens > 0),
    ADD COLUMN budget_usd    double precision CHECK (budget_usd > 0);

-- +goose StatementBegin
-- A figure of a usage event; 0 for what is none. Written by agents, so nothing is taken on trust: events that were
-- stored before the API checked them may hold anything.
CREATE FUNCTION codex_usage_figure(content jsonb, field text) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof(content -> field) = 'number'
        THEN least(greatest((content ->> field)::numeric, 0), 1e12) ELSE 0 END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION codex_usage_figure;
ALTER TABLE codex_tasks DROP COLUMN retry_of, DROP COLUMN budget_tokens, DROP COLUMN budget_usd;
