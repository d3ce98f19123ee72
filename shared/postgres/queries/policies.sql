-- name: NotePolicy :exec
-- Notes that a policy is in force, and since when it last was taken into force.
INSERT INTO codex_policies (version, content) VALUES (@version, @content)
ON CONFLICT (version) DO UPDATE SET in_force_at = now();

-- name: GetNewestPolicy :one
SELECT content FROM codex_policies ORDER BY in_force_at DESC LIMIT 1;

-- name: GetActing :one
-- GetActing reads what decides whether, and as whom, a task may act in the cluster.
SELECT status, attempt, caller, project, tags, priority, orchestration_mode FROM codex_tasks WHERE id = $1;

-- name: BeginActing :execrows
-- BeginActing notes that an attempt's actions are carried out, for so long at most.
-- No row: it is over, or to be cancelled. The task's row is held meanwhile, so that its end comes
-- before, or finds the note.
INSERT INTO codex_task_acting (id, task_id, until)
SELECT @id, t.id, clock_timestamp() + @span::interval
FROM codex_tasks t
WHERE t.id = @task_id AND t.attempt = @attempt AND t.status IN ('launching', 'running')
  AND t.cancel_requested_at IS NULL FOR SHARE;

-- name: EndActing :exec
-- EndActing notes that actions are over, and forgets those that must be.
DELETE FROM codex_task_acting WHERE id = $1 OR until < clock_timestamp();

-- name: IsActing :one
-- IsActing tells whether actions of a task are being carried out.
SELECT EXISTS (SELECT FROM codex_task_acting WHERE task_id = $1 AND until > clock_timestamp());

-- name: FindApproval :one
-- FindApproval reads the request for an approval, decided or not.
SELECT * FROM codex_approvals WHERE task_id = @task_id AND subject = @subject;

-- name: RequestApproval :one
-- RequestApproval asks for an approval. The caller holds the task's row, and found none.
INSERT INTO codex_approvals (id, task_id, subject, description, rule, policy_version, approvers, reason)
VALUES (@id, @task_id, @subject, @description, @rule, @policy_version, @approvers, @reason)
RETURNING *;

-- name: SupersedeApproval :exec
-- SupersedeApproval has a request for an approval count no more, so that it can be
-- asked for anew: its approvers are not those of the policy in force.
UPDATE codex_approvals SET subject = subject || ' superseded ' || id::text WHERE id = $1;

-- name: ReaddressApproval :one
-- ReaddressApproval has others decide what nobody has decided yet.
UPDATE codex_approvals SET rule = @rule, policy_version = @policy_version, approvers = @approvers, reason = @reason
WHERE id = @id AND decision IS NULL RETURNING *;

-- name: CountOpenApprovals :one
SELECT count(*) FROM codex_approvals WHERE task_id = $1 AND decision IS NULL;

-- name: InsertActions :exec
-- InsertActions adds to the audit, in the order of the arrays.
INSERT INTO codex_task_actions
    (task_id, attempt, actor, verb, resource, dry_run, force, outcome, rule, policy_version, reason, diff_digest)
SELECT @task_id::uuid, @attempt::smallint, @actor::text, @verb::text, a.resource, @dry_run::boolean, @force::boolean,
       a.outcome, a.rule, nullif(a.policy_version, ''), a.reason, nullif(a.diff_digest, '')
FROM (SELECT unnest(@resources::jsonb[]) AS resource, unnest(@outcomes::text[]) AS outcome, unnest(@rules::text[]) AS rule,
             unnest(@policy_versions::text[]) AS policy_version, unnest(@reasons::text[]) AS reason,
             unnest(@diff_digests::text[]) AS diff_digest) AS a;
