-- name: GetBeforeManifests :one
-- GetBeforeManifests reads the resources as they were before the task: as the
-- cluster had them or as its submitter said, that which is asked for if there
-- are both.
SELECT manifests FROM codex_task_snapshots
WHERE task_id = @task_id AND type = 'before' AND manifests IS NOT NULL
ORDER BY (live = @prefer_live::boolean) DESC, created_at LIMIT 1;

-- name: GetAfterSnapshot :one
-- GetAfterSnapshot reads the state that the attempt left: as the cluster has
-- it, or else as the agent reported it last.
SELECT manifests, diff, live FROM codex_task_snapshots
WHERE task_id = $1 AND attempt = $2 AND type = 'after'
ORDER BY live DESC, event_sequence DESC NULLS FIRST LIMIT 1;

-- name: InsertLiveSnapshot :exec
-- InsertLiveSnapshot stores what was read from the cluster, once for each
-- attempt and type: the first reading is the right one.
INSERT INTO codex_task_snapshots (id, task_id, type, attempt, manifests, digest, live, absent)
VALUES (@id, @task_id, @type, @attempt, @manifests, @digest, true, @absent)
ON CONFLICT DO NOTHING;

-- name: HasLiveSnapshot :one
SELECT EXISTS (
    SELECT FROM codex_task_snapshots
    WHERE task_id = @task_id AND type = @type AND attempt = @attempt AND live);

-- name: GetLiveChange :one
-- GetLiveChange reads a task's resources as the cluster had them before the
-- first attempt and after the last one that was looked at.
SELECT b.manifests AS before, a.manifests AS after
FROM codex_task_snapshots b JOIN codex_task_snapshots a ON a.task_id = b.task_id
WHERE b.task_id = $1 AND b.live AND b.type = 'before' AND a.live AND a.type = 'after'
ORDER BY a.attempt DESC LIMIT 1;

-- name: GetAppliedManifests :one
-- GetAppliedManifests reads what is to be applied before the first attempt, and
-- whether that was done.
SELECT manifests, (applied_at IS NOT NULL)::boolean AS applied FROM codex_task_manifests WHERE task_id = $1;

-- name: BeginApplying :one
-- BeginApplying takes a task's manifests for as long as the caller needs to apply
-- them. No row: they are applied, or another has them.
UPDATE codex_task_manifests SET applying_until = clock_timestamp() + @span::interval
WHERE task_id = @task_id AND applied_at IS NULL AND (applying_until IS NULL OR applying_until < clock_timestamp())
RETURNING applying_until::timestamptz;

-- name: EndApplying :exec
-- EndApplying gives a task's manifests back, applied or not, if the caller has
-- them still.
UPDATE codex_task_manifests
SET applying_until = NULL, applied_at = CASE WHEN @applied::boolean THEN now() END
WHERE task_id = @task_id AND applying_until = @applying_until AND applied_at IS NULL;
