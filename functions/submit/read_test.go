package submit_test

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/minio/minio-go/v7"

	"github.com/graf-run/graf/shared/api"
)

func TestGetNewTask(t *testing.T) {
	t.Parallel()
	w := setup(t)
	id := w.submit(full, http.StatusCreated).TaskID.String()
	res := w.call(http.MethodGet, "/v1/codex/tasks/"+id, "", http.StatusOK, nil)
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", "sk-in-the-environment", "graf_task_"} {
		if strings.Contains(string(raw), secret) {
			t.Errorf("the answer shows %q", secret)
		}
	}
	var task api.Task
	if err := json.Unmarshal(raw, &task); err != nil {
		t.Fatal(err)
	}
	if task.Caller != "ci" || task.Priority != 7 || task.TimeoutSeconds != 600 || task.MaxAttempts != 3 || task.Attempt != 0 ||
		len(task.TargetResources) != 3 || len(task.Tags) != 2 || task.Agent.Command[0] != "/usr/local/bin/codex-agent" ||
		task.OrchestrationMode != api.OrchestrationModeDirect || task.IdempotencyKey != "" {
		t.Errorf("task = %s", raw)
	}
	// Numbers come back as they were given, however long.
	if !strings.Contains(string(task.Metadata), "9007199254740993") || !strings.Contains(string(task.Metadata), "2.50") {
		t.Errorf("metadata = %s", task.Metadata)
	}
	if len(task.Snapshots) != 1 || len(task.Snapshots[0].Manifests) != 2 || task.Snapshots[0].Type != api.SnapshotTypeBefore {
		t.Errorf("snapshots = %+v", task.Snapshots)
	}
	want := api.EmbeddingReadiness{Prompt: "pending", Before: "pending", After: "none", Diff: "none", Events: "none"}
	if task.Embeddings != want {
		t.Errorf("embeddings = %+v, want %+v", task.Embeddings, want)
	}
}

func TestGetWithoutSnapshot(t *testing.T) {
	t.Parallel()
	w := setup(t)
	task := w.get(w.submit(minimal, http.StatusCreated, "Idempotency-Key", "mine").TaskID.String())
	if len(task.Snapshots) != 0 || task.IdempotencyKey != "mine" || string(task.Metadata) != "{}" || task.Priority != api.DefaultPriority {
		t.Errorf("task = %+v", task)
	}
}

// lived gives the task what later stages add to it.
func (w *world) lived(id, earlier string) {
	w.t.Helper()
	w.move(id, "launching")
	w.exec(`INSERT INTO codex_task_attempts (task_id, attempt, recall_mode, recall_reason, execution_kind, execution_name,
			execution_namespace, execution_uid, exit_code, failure_class, failure_reason, started_at, finished_at)
		VALUES ($1, 1, 'text_only', 'no vector in time', 'Job', 'codex-1', 'graf', 'u1', 1, 'agent', 'exit status 1', now(), now()),
		       ($1, 2, 'hybrid', '', 'Job', 'codex-2', 'graf', 'u2', 0, NULL, NULL, now(), now())`, id)
	w.move(id, "running", "finalizing")
	w.exec(`INSERT INTO codex_task_recalls (task_id, attempt, rank, memory_id, score)
		SELECT $1, 2, 1, m.id, 0.75 FROM codex_task_memory_index m WHERE m.task_id = $2 AND m.kind = 'prompt'`, id, earlier)
	w.exec(`INSERT INTO codex_task_events (task_id, sequence, event_id, event_type, attempt, occurred_at)
		VALUES ($1, 1, 'a', 'artifact', 2, now())`, id)
	w.exec(`UPDATE codex_memory_contents c SET embedded_as = 'm@3' FROM codex_task_memory_index m
		WHERE m.content_hash = c.content_hash AND m.task_id = $1 AND m.kind = 'prompt'`, id)
	w.exec(`UPDATE codex_memory_contents c SET embedding_error = 'refused' FROM codex_task_memory_index m
		WHERE m.content_hash = c.content_hash AND m.task_id = $1 AND m.kind = 'before'`, id)
	w.exec(`INSERT INTO codex_memory_contents (content_hash, content, embedded_as) VALUES ('h', 'e', 'm@3'), ('i', 'o', NULL)`)
	w.exec(`INSERT INTO codex_task_memory_index (id, task_id, kind, ordinal, content_hash)
		VALUES (gen_random_uuid(), $1, 'event', 1000, 'h'), (gen_random_uuid(), $1, 'outcome', 0, 'i')`, id)
	w.exec(`UPDATE codex_tasks SET status = 'succeeded', updated_by = 'test', attempt = 2, deadline_at = now(),
		diff_digest = 'sha256:' || repeat('a', 64), diff_unified = '-1' || chr(10) || '+3', diff_summary = 'replicas' WHERE id = $1`, id)
}

// upload puts an artifact into the store and its row into the database.
func (w *world) upload(id, name, status string, content string) {
	w.t.Helper()
	artifact := uuid.Must(uuid.NewV7())
	key := "tasks/" + id + "/artifacts/" + artifact.String()
	if _, err := w.bucket.Client.PutObject(w.context, w.bucket.Name, key, strings.NewReader(content), int64(len(content)),
		minio.PutObjectOptions{ContentType: "text/plain"}); err != nil {
		w.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	w.exec(`INSERT INTO codex_task_artifacts (id, task_id, event_sequence, name, content_type, size_bytes, sha256, object_key, status)
		VALUES ($1, $2, 1, $3, 'text/plain', $4, $5, $6, $7)`, artifact, id, name, len(content), sum[:], key, status)
}

func TestGetFinishedTask(t *testing.T) {
	t.Parallel()
	w := setup(t)
	earlier := w.submit(minimal, http.StatusCreated).TaskID
	id := w.submit(full, http.StatusCreated).TaskID.String()
	w.lived(id, earlier.String())
	w.upload(id, "report.md", "verified", "hello")
	w.upload(id, "pending.md", "pending", "x")
	w.upload(id, "rejected.md", "rejected", "x")

	task := w.get(id)
	if len(task.Attempts) != 2 || task.Attempts[0].Failure.Reason != "exit status 1" || *task.Attempts[0].ExitCode != 1 ||
		task.Attempts[1].Failure != nil || *task.Attempts[1].ExitCode != 0 {
		t.Errorf("attempts = %+v", task.Attempts)
	}
	if task.Execution == nil || *task.Execution != (api.Execution{Kind: "Job", Name: "codex-2", Namespace: "graf", UID: "u2"}) {
		t.Errorf("execution = %+v", task.Execution)
	}
	if task.Recall == nil || task.Recall.Mode != api.RecallModeHybrid || task.Attempts[0].Recall.Reason != "no vector in time" {
		t.Errorf("recall = %+v", task.Recall)
	}
	if len(task.Memories) != 1 || task.Memories[0].Source != (api.MemorySource{TaskID: earlier, Kind: "prompt"}) ||
		task.Memories[0].Score != 0.75 || task.Memories[0].Snippet != "Raise the replicas." || task.Memories[0].Attempt != 2 {
		t.Errorf("memories = %+v", task.Memories)
	}
	want := api.EmbeddingReadiness{Prompt: "ready", Before: "failed", After: "none", Diff: "none", Events: "pending"}
	if task.Embeddings != want {
		t.Errorf("embeddings = %+v, want %+v", task.Embeddings, want)
	}
	if task.Diff == nil || task.Diff.Summary != "replicas" || task.Diff.Unified != "-1\n+3" || task.Failure != nil {
		t.Errorf("diff = %+v, failure = %+v", task.Diff, task.Failure)
	}
	if task.Status != api.TaskStatusSucceeded || task.LaunchingAt == nil || task.StartedAt == nil || task.FinalizingAt == nil ||
		task.FinishedAt == nil || task.DeadlineAt == nil || task.QueuedAt == nil {
		t.Errorf("status %s or a time is missing: %+v", task.Status, task)
	}
	if len(task.Artifacts) != 1 || task.Artifacts[0].Name != "report.md" || task.Artifacts[0].Attempt != 2 {
		t.Fatalf("artifacts = %+v, want the verified one", task.Artifacts)
	}
	w.wantDownload(task.Artifacts[0].DownloadURL, "hello")
}

func (w *world) wantDownload(url, content string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.context, http.MethodGet, url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != content {
		w.t.Errorf("the download link gives %d %q (%v), want %q", res.StatusCode, got, err, content)
	}
}
