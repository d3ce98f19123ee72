-- name: NotePolicy :exec
-- Notes that a policy is in force, and since when it last was taken into force.
INSERT INTO codex_policies (version, content) VALUES (@version, @content)
ON CONFLICT (version) DO UPDATE SET in_force_at = now();

-- name: GetNewestPolicy :one
SELECT content FROM codex_policies ORDER BY in_force_at DESC LIMIT 1;
