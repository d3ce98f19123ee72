-- +goose Up
-- A task is one request to an agent. Its row is the truth about where it
-- stands; Redis and the Broker only carry hints about it.
CREATE TABLE codex_tasks (
    id                  uuid PRIMARY KEY,
    caller              text NOT NULL,
    -- Two submissions with one key by one caller are one task; the digest of
    -- the request tells a repetition from a mistake.
    idempotency_key     text NOT NULL,
    request_digest      bytea NOT NULL,
    status              text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'launching', 'running', 'finalizing',
                          'succeeded', 'failed', 'cancelled', 'timed_out')),
    -- Who made the last change; the audit trigger copies it.
    updated_by          text NOT NULL,
    prompt              text NOT NULL CHECK (octet_length(prompt) BETWEEN 1 AND 65536),
    target_resources    jsonb NOT NULL DEFAULT '[]',
    namespaces          text[] NOT NULL DEFAULT '{}',
    resource_kinds      text[] NOT NULL DEFAULT '{}',
    orchestration_mode  text NOT NULL DEFAULT 'direct'
        CHECK (orchestration_mode IN ('direct', 'argo', 'temporal')),
    agent               jsonb NOT NULL,
    priority            smallint NOT NULL CHECK (priority BETWEEN 0 AND 9),
    timeout_seconds     integer NOT NULL CHECK (timeout_seconds BETWEEN 10 AND 86400),
    max_attempts        smallint NOT NULL CHECK (max_attempts BETWEEN 1 AND 5),
    tags                text[] NOT NULL DEFAULT '{}',
    metadata            jsonb NOT NULL DEFAULT '{}',
    -- Salts the digests that stand for the values of Secrets in this task's
    -- snapshots, the same for all of them so that a change shows. Whoever
    -- reads snapshots by the API does not see it and cannot guess values.
    manifest_salt       bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()),
    trace_parent        text NOT NULL DEFAULT '',
    -- The attempt under way or last made; 0 before the first.
    attempt             smallint NOT NULL DEFAULT 0,
    -- The next attempt does not start before this moment.
    not_before          timestamptz,
    cancel_requested_at timestamptz,
    cancel_requested_by text,
    -- What the one who cancelled gave as the reason; the end of the task quotes it.
    cancel_reason       text,
    last_event_sequence bigint NOT NULL DEFAULT 0,
    diff_digest         text,
    diff_unified        text,
    diff_summary        text,
    failure_class       text,
    failure_reason      text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    queued_at           timestamptz NOT NULL DEFAULT now(),
    launching_at        timestamptz,
    started_at          timestamptz,
    finalizing_at       timestamptz,
    finished_at         timestamptz,
    deadline_at         timestamptz,
    updated_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (caller, idempotency_key)
);

-- Task ids are UUIDv7, so the primary key also pages by age. These serve the
-- filters of the list and the sweep of what has not ended.
CREATE INDEX codex_tasks_status ON codex_tasks (status, id DESC);
CREATE INDEX codex_tasks_tags ON codex_tasks USING gin (tags);

-- One row for each time the task was given to an execution.
CREATE TABLE codex_task_attempts (
    task_id             uuid NOT NULL REFERENCES codex_tasks,
    attempt             smallint NOT NULL,
    prompt              text NOT NULL DEFAULT '',
    -- hybrid: vectors and full text; text_only: the prompt's vector was not
    -- there in time; none: memory is switched off.
    recall_mode         text NOT NULL DEFAULT 'none'
        CHECK (recall_mode IN ('hybrid', 'text_only', 'none')),
    recall_reason       text NOT NULL DEFAULT '',
    execution_kind      text,
    execution_name      text,
    execution_namespace text,
    execution_uid       text,
    -- How often the cluster did not take it.
    launch_failures     integer NOT NULL DEFAULT 0,
    -- Until when a launch extended its slot, or was about to; a rebuild of the
    -- slots counts a launching task only if this is to come.
    slot_until          timestamptz,
    -- What the cluster said of the execution's end: it forgets a Job after its
    -- time to live, and the end may have to be carried on after that.
    execution_end       jsonb,
    exit_code           integer,
    failure_class       text,
    failure_reason      text,
    launched_at         timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz,
    finished_at         timestamptz,
    PRIMARY KEY (task_id, attempt)
);

-- Tokens that a task's containers and its submitter hold. Only hashes are
-- kept, so a token cannot be read back: whoever needs one is given a new one.
CREATE TABLE codex_task_tokens (
    token_hash bytea PRIMARY KEY,
    task_id    uuid NOT NULL REFERENCES codex_tasks,
    issued_to  text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX codex_task_tokens_task ON codex_task_tokens (task_id);

-- The audit: every step of every task, who made it and when.
CREATE TABLE codex_task_transitions (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id     uuid NOT NULL REFERENCES codex_tasks,
    attempt     smallint NOT NULL,
    from_status text,
    to_status   text NOT NULL,
    actor       text NOT NULL,
    diff_digest text,
    reason      text,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX codex_task_transitions_task ON codex_task_transitions (task_id, id);

-- +goose StatementBegin
-- The state machine of docs/architecture.md. It lives here so that no code
-- path, old version or hand-written statement can leave it.
CREATE FUNCTION codex_tasks_enforce_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    IF NEW.status = OLD.status THEN
        RETURN NEW;
    END IF;
    IF NOT (CASE OLD.status
        WHEN 'queued'     THEN NEW.status IN ('launching', 'cancelled')
        WHEN 'launching'  THEN NEW.status IN ('running', 'finalizing', 'cancelled', 'failed')
        WHEN 'running'    THEN NEW.status IN ('finalizing')
        WHEN 'finalizing' THEN NEW.status IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'queued')
        ELSE false
    END) THEN
        RAISE EXCEPTION 'codex task %: no transition from % to %', NEW.id, coalesce(OLD.status, 'nothing'), NEW.status
            USING ERRCODE = 'GR001';
    END IF;
    CASE NEW.status
        WHEN 'queued'     THEN NEW.queued_at := NEW.updated_at;
        WHEN 'launching'  THEN NEW.launching_at := NEW.updated_at;
        WHEN 'running'    THEN NEW.started_at := coalesce(NEW.started_at, NEW.updated_at);
        WHEN 'finalizing' THEN NEW.finalizing_at := NEW.updated_at;
        ELSE NEW.finished_at := NEW.updated_at;
    END CASE;
    RETURN NEW;
END $$;

CREATE FUNCTION codex_tasks_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.status = OLD.status THEN
        RETURN NULL;
    END IF;
    INSERT INTO codex_task_transitions (task_id, attempt, from_status, to_status, actor, diff_digest, reason)
    VALUES (NEW.id, NEW.attempt, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END,
            NEW.status, NEW.updated_by, NEW.diff_digest, NEW.failure_reason);
    RETURN NULL;
END $$;

CREATE FUNCTION codex_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'GR002';
END $$;
-- +goose StatementEnd

CREATE TRIGGER codex_tasks_enforce_transition BEFORE UPDATE ON codex_tasks
    FOR EACH ROW EXECUTE FUNCTION codex_tasks_enforce_transition();
CREATE TRIGGER codex_tasks_begin_queued BEFORE INSERT ON codex_tasks
    FOR EACH ROW WHEN (NEW.status <> 'queued') EXECUTE FUNCTION codex_tasks_enforce_transition();
CREATE TRIGGER codex_tasks_audit AFTER INSERT OR UPDATE OF status ON codex_tasks
    FOR EACH ROW EXECUTE FUNCTION codex_tasks_audit();
CREATE TRIGGER codex_task_transitions_append_only BEFORE UPDATE OR DELETE ON codex_task_transitions
    FOR EACH ROW EXECUTE FUNCTION codex_refuse_change();
CREATE TRIGGER codex_task_transitions_no_truncate BEFORE TRUNCATE ON codex_task_transitions
    FOR EACH STATEMENT EXECUTE FUNCTION codex_refuse_change();

-- +goose Down
DROP TABLE codex_task_transitions, codex_task_tokens, codex_task_attempts, codex_tasks;
DROP FUNCTION codex_tasks_enforce_transition, codex_tasks_audit, codex_refuse_change;
