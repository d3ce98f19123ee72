-- +goose Up
-- Every policy that was in force, by the digest of its text. If the file that a
-- function starts with is not valid, the newest of these stays in force.
CREATE TABLE codex_policies (
    version     text PRIMARY KEY CHECK (version ~ '^sha256:[0-9a-f]{64}$'),
    content     text NOT NULL,
    -- When it was last taken into force by a function.
    in_force_at timestamptz NOT NULL DEFAULT now(),
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX codex_policies_in_force_at ON codex_policies (in_force_at DESC);

ALTER TABLE codex_tasks
    -- What the task belongs to; policies name projects.
    ADD COLUMN project         text NOT NULL DEFAULT '',
    -- The policy and its entry that let the task run.
    ADD COLUMN policy_version  text REFERENCES codex_policies,
    ADD COLUMN policy_rule     text NOT NULL DEFAULT '',
    -- What it may do with each of its target resources: its Kubernetes rights are made of this.
    ADD COLUMN grants          jsonb NOT NULL DEFAULT '[]',
    DROP CONSTRAINT codex_tasks_status_check,
    ADD CONSTRAINT codex_tasks_status_check CHECK (status IN
        ('awaiting_approval', 'queued', 'launching', 'running', 'finalizing',
         'succeeded', 'failed', 'cancelled', 'timed_out'));

-- Manifests that are applied before a task's first attempt, none of them a Secret.
CREATE TABLE codex_task_manifests (
    task_id   uuid PRIMARY KEY REFERENCES codex_tasks,
    manifests json NOT NULL
);

-- What a human has to let go ahead: a task, or one action of it.
CREATE TABLE codex_approvals (
    id             uuid PRIMARY KEY,
    task_id        uuid NOT NULL REFERENCES codex_tasks,
    -- 'task', or 'sha256:…' of the action's verb, resource and manifest: the
    -- same action again is the same request, another one is not approved with it.
    subject        text NOT NULL,
    description    text NOT NULL,
    rule           text NOT NULL,
    policy_version text NOT NULL REFERENCES codex_policies,
    -- Patterns of callers' names.
    approvers      text[] NOT NULL,
    reason         text NOT NULL DEFAULT '',
    requested_at   timestamptz NOT NULL DEFAULT now(),
    decision       text CHECK (decision IN ('approved', 'rejected')),
    decided_by     text,
    decided_at     timestamptz,
    comment        text,
    UNIQUE (task_id, subject),
    CHECK ((decision IS NULL) = (decided_by IS NULL) AND (decision IS NULL) = (decided_at IS NULL))
);

-- The audit of what was done, or refused, on a task's behalf in the cluster.
CREATE TABLE codex_task_actions (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id        uuid NOT NULL REFERENCES codex_tasks,
    attempt        smallint NOT NULL,
    actor          text NOT NULL,
    verb           text NOT NULL,
    resource       jsonb NOT NULL,
    dry_run        boolean NOT NULL,
    force          boolean NOT NULL,
    outcome        text NOT NULL
        CHECK (outcome IN ('done', 'unchanged', 'refused', 'awaiting_approval', 'conflict', 'failed')),
    rule           text NOT NULL DEFAULT '',
    policy_version text,
    reason         text NOT NULL DEFAULT '',
    diff_digest    text,
    occurred_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX codex_task_actions_task ON codex_task_actions (task_id, id);
CREATE TRIGGER codex_task_actions_append_only BEFORE UPDATE OR DELETE ON codex_task_actions
    FOR EACH ROW EXECUTE FUNCTION codex_refuse_change();
CREATE TRIGGER codex_task_actions_no_truncate BEFORE TRUNCATE ON codex_task_actions
    FOR EACH STATEMENT EXECUTE FUNCTION codex_refuse_change();

ALTER TABLE codex_task_snapshots
    -- Whether it was read from the cluster, rather than said by somebody.
    ADD COLUMN live   boolean NOT NULL DEFAULT false,
    -- The target resources that there were none of.
    ADD COLUMN absent jsonb NOT NULL DEFAULT '[]';
-- The first reading is the right one, also if two read at a time.
CREATE UNIQUE INDEX codex_task_snapshots_live ON codex_task_snapshots (task_id, type, attempt) WHERE live;

-- Requests to take back what a task changed.
CREATE TABLE codex_undos (
    id           uuid PRIMARY KEY,
    task_id      uuid NOT NULL REFERENCES codex_tasks,
    requested_by text NOT NULL,
    dry_run      boolean NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    status       text NOT NULL DEFAULT 'requested' CHECK (status IN ('requested', 'done', 'refused', 'failed')),
    result       jsonb,
    finished_at  timestamptz
);
CREATE INDEX codex_undos_task ON codex_undos (task_id, requested_at);

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION codex_tasks_enforce_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    IF NEW.status = OLD.status THEN
        RETURN NEW;
    END IF;
    IF NOT (CASE OLD.status
        WHEN 'awaiting_approval' THEN NEW.status IN ('queued', 'cancelled')
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
-- +goose StatementEnd
DROP TRIGGER codex_tasks_begin_queued ON codex_tasks;
CREATE TRIGGER codex_tasks_begin BEFORE INSERT ON codex_tasks
    FOR EACH ROW WHEN (NEW.status NOT IN ('queued', 'awaiting_approval')) EXECUTE FUNCTION codex_tasks_enforce_transition();

-- +goose Down
-- A task that waits for approval cannot go back: cancel it first.
DROP TRIGGER codex_tasks_begin ON codex_tasks;
CREATE TRIGGER codex_tasks_begin_queued BEFORE INSERT ON codex_tasks
    FOR EACH ROW WHEN (NEW.status <> 'queued') EXECUTE FUNCTION codex_tasks_enforce_transition();
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION codex_tasks_enforce_transition() RETURNS trigger LANGUAGE plpgsql AS $$
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
-- +goose StatementEnd
DROP TABLE codex_undos, codex_task_actions, codex_approvals, codex_task_manifests;
ALTER TABLE codex_task_snapshots DROP COLUMN live, DROP COLUMN absent;
ALTER TABLE codex_tasks
    DROP CONSTRAINT codex_tasks_status_check,
    ADD CONSTRAINT codex_tasks_status_check CHECK (status IN ('queued', 'launching', 'running', 'finalizing',
                          'succeeded', 'failed', 'cancelled', 'timed_out')),
    DROP COLUMN project, DROP COLUMN policy_version, DROP COLUMN policy_rule, DROP COLUMN grants;
DROP TABLE codex_policies;
