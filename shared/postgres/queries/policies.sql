-- name: NotePolicy :exec
-- Notes that a policy is in force, and since when it last was taken into force.
INSERT INTO codex_policies (version, content) VALUES (@version, @content)
ON CONFLICT (version) DO UPDATE SET in_force_at = now();

-- name: GetNewestPolicy :one
SELECT content FROM codex_policies ORDER BY in_force_at DESC LIMIT 1;

-- name: InsertActions :exec
-- InsertActions adds to the audit, in the order of the arrays.
INSERT INTO codex_task_actions
    (task_id, attempt, actor, verb, resource, dry_run, force, outcome, rule, policy_version, reason, diff_digest)
SELECT @task_id::uuid, @attempt::smallint, @actor::text, @verb::text, a.resource, @dry_run::boolean, @force::boolean,
       a.outcome, a.rule, nullif(a.policy_version, ''), a.reason, nullif(a.diff_digest, '')
FROM (SELECT unnest(@resources::jsonb[]) AS resource, unnest(@outcomes::text[]) AS outcome, unnest(@rules::text[]) AS rule,
             unnest(@policy_versions::text[]) AS policy_version, unnest(@reasons::text[]) AS reason,
             unnest(@diff_digests::text[]) AS diff_digest) AS a;
