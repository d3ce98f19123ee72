package finalize

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/minio/minio-go/v7"

	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kubetest"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/postgrestest"
	"github.com/graf-run/graf/shared/redistest"
	"github.com/graf-run/graf/shared/s3test"
	"github.com/graf-run/graf/shared/tasktest"
)

// jobs is a cluster with the given executions; the pipeline's tests in local/
// run finalize on a real Kubernetes API.
type jobs struct {
	mu          sync.Mutex
	executions  []kube.Observation
	termination kube.Termination
	deleted     []string
	undeletable error // of Delete
	unlisted    bool  // List leaves out what there is
	looks       int   // how often any was asked for
	// written is what the container of any wrote; nil for a pod that is gone.
	written func(kube.Execution) (io.ReadCloser, error)
}

func (j *jobs) Log(_ context.Context, e kube.Execution) (io.ReadCloser, error) {
	if j.written == nil {
		return nil, kube.ErrNotFound
	}
	return j.written(e)
}

func (j *jobs) Get(_ context.Context, e kube.Execution) (kube.Observation, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.looks++
	for _, o := range j.executions {
		if e.Name == kube.JobName(o.TaskID, o.Attempt) && e.Kind == o.Execution.Kind {
			return o, nil
		}
	}
	return kube.Observation{}, kube.ErrNotFound
}

func (j *jobs) List(context.Context, string) ([]kube.Observation, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.looks++
	if j.unlisted {
		return nil, nil
	}
	return slices.Clone(j.executions), nil
}

func (j *jobs) Delete(_ context.Context, e kube.Execution) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.undeletable != nil {
		return j.undeletable
	}
	j.deleted = append(j.deleted, e.Name)
	for i, o := range j.executions { // until its pod has ended
		if e.Name == kube.JobName(o.TaskID, o.Attempt) {
			j.executions[i].Deleting = true
		}
	}
	return nil
}

func (j *jobs) Termination(context.Context, kube.Execution) (kube.Termination, error) {
	if j.termination == (kube.Termination{}) {
		return kube.Termination{}, kube.ErrNotFound
	}
	return j.termination, nil
}

// events is a sink that keeps what it is sent.
type events struct {
	mu   sync.Mutex
	sent []event.Event
}

func (s *events) Send(_ context.Context, e event.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, e)
	return nil
}

func (s *events) types() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	types := []string{}
	for _, e := range s.sent {
		types = append(types, e.Type())
	}
	return types
}

type fixture struct {
	*Finalizer
	pool    *pgxpool.Pool
	cluster *jobs
	sink    *events
	bucket  *s3test.Bucket
	// limited makes slots of which there are that many.
	limited func(global int) *limiter.Slots
}

func setup(t *testing.T) *fixture {
	t.Helper()
	pool := postgrestest.New(t)
	client, prefix := redistest.New(t)
	limited := func(global int) *limiter.Slots {
		slots, err := limiter.NewSlots(client, limiter.SlotsConfig{Global: global, LaunchLease: time.Minute, Prefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		return slots
	}
	bucket := s3test.New(t)
	store, err := artifact.New(artifact.Config{
		Endpoint: bucket.Endpoint, Bucket: bucket.Name, Region: bucket.Region, AccessKeyID: bucket.AccessKeyID,
		SecretAccessKey: bucket.SecretAccessKey, MaxBytes: 1 << 20, UploadExpiry: time.Minute, DownloadExpiry: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	cluster, sink := &jobs{}, &events{}
	return &fixture{
		pool: pool, cluster: cluster, sink: sink, bucket: bucket, limited: limited,
		Finalizer: &Finalizer{
			pool: pool, outbox: outbox.New(pool, sink, slog.Default()), slots: limited(0), artifacts: store, cluster: cluster, resources: kubetest.Client(t),
			config: Config{Namespace: "finalize-tests", RetryBase: time.Millisecond, RetryMax: time.Second, StaleAfter: 30 * time.Second, Grace: time.Minute},
			copier: newLogCopier(),
			log:    slog.Default(),
		},
	}
}

func observe(task query.Task, phase kube.Phase) kube.Observation {
	name := fmt.Sprintf("codex-%s-%d", task.ID, task.Attempt)
	return kube.Observation{
		TaskID: task.ID.String(), Attempt: int(task.Attempt), Phase: phase,
		Execution: kube.Execution{Kind: kube.KindFor(task.OrchestrationMode), Name: name, Namespace: "graf", UID: "uid-1"},
	}
}

func TestEndings(t *testing.T) {
	t.Parallel()
	exit := func(code int) kube.Termination {
		return kube.Termination{ExitCode: code, Reason: "Error", Message: "the tail"}
	}
	for name, c := range map[string]struct {
		phase       kube.Phase
		termination kube.Termination
		report      string
		cancelled   bool
		gone        bool
		status      string
		class       string
		reason      string
	}{
		"exit 0":                    {phase: kube.PhaseSucceeded, status: "succeeded"},
		"exit 0, completed":         {phase: kube.PhaseSucceeded, report: "completed", status: "succeeded"},
		"exit 0, reported failed":   {phase: kube.PhaseSucceeded, report: "failed", status: "failed", class: "agent", reason: "the agent reported: what it said"},
		"exit 3, reported failed":   {phase: kube.PhaseFailed, termination: exit(3), report: "failed", status: "failed", class: "agent", reason: "what it said\nthe agent exited with code 3"},
		"exit 3, completed":         {phase: kube.PhaseFailed, termination: exit(3), report: "completed", status: "failed", class: "agent", reason: "exited with code 3"},
		"silent death":              {phase: kube.PhaseFailed, termination: exit(1), status: "failed", class: "agent", reason: "code 1 without a word; the end of its log:\nthe tail"},
		"killed":                    {phase: kube.PhaseFailed, termination: kube.Termination{ExitCode: 137, Signal: 9, Reason: "Error"}, status: "failed", class: "agent", reason: "killed by signal 9"},
		"out of memory":             {phase: kube.PhaseFailed, termination: kube.Termination{ExitCode: 137, OOMKilled: true, Reason: "OOMKilled"}, status: "failed", class: "infrastructure", reason: "memory limit"},
		"no such program":           {phase: kube.PhaseFailed, termination: kube.Termination{ExitCode: 128, Reason: "StartError", Message: "no such file"}, status: "failed", class: "agent", reason: "the agent's command could not be started: no such file"},
		"no pod left":               {phase: kube.PhaseFailed, status: "failed", class: "infrastructure", reason: "did not run"},
		"deadline":                  {phase: kube.PhaseDeadlineExceeded, status: "timed_out", class: "timeout", reason: "within 60 s"},
		"deleted":                   {gone: true, status: "failed", class: "infrastructure", reason: "deleted"},
		"deleted to cancel":         {gone: true, cancelled: true, status: "cancelled", class: "cancelled", reason: "cancelled by ops"},
		"cancelled too late":        {phase: kube.PhaseSucceeded, cancelled: true, status: "succeeded"},
		"deadline while cancelling": {phase: kube.PhaseDeadlineExceeded, cancelled: true, status: "cancelled", class: "cancelled", reason: "cancelled by ops"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			task := tasktest.Running(t, f.pool, tasktest.Task{})
			f.cluster.termination = c.termination
			if c.report != "" {
				tasktest.Report(t, f.pool, task.ID, c.report, "what it said")
			}
			if c.cancelled {
				tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET cancel_requested_at = now(), cancel_requested_by = 'ops' WHERE id = $1`, task.ID)
			}
			o := observe(task, c.phase)
			if c.gone {
				o = gone(o)
			}
			for range 2 { // the event comes twice
				if err := f.Finalize(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			got := tasktest.Get(t, f.pool, task.ID)
			if got.Status != c.status || value(got.FailureClass) != c.class || !strings.Contains(value(got.FailureReason), c.reason) {
				t.Errorf("task is %s, %s: %s", got.Status, value(got.FailureClass), value(got.FailureReason))
			}
			if diff := cmp.Diff([]string{event.TypeTaskFinished}, f.sink.types()); diff != "" {
				t.Error(diff)
			}
			outcomes := tasktest.Scan[int](t, f.pool, `SELECT count(*) FROM codex_task_memory_index WHERE task_id = $1 AND kind = 'outcome'`, task.ID)
			if outcomes != 1 {
				t.Errorf("%d outcomes remembered, want 1", outcomes)
			}
		})
	}
}

func TestLogTailWithASecret(t *testing.T) {
	t.Parallel()
	f := setup(t)
	token, _ := auth.NewTaskToken()
	f.cluster.termination = kube.Termination{ExitCode: 1, Reason: "Error", Message: "curl -H 'Authorization: Bearer " + token + "'"}
	task := tasktest.Running(t, f.pool, tasktest.Task{Prompt: "Use the token " + token})
	if err := f.Finalize(t.Context(), observe(task, kube.PhaseFailed)); err != nil {
		t.Fatal(err)
	}
	kept := tasktest.Scan[string](t, f.pool, `SELECT failure_reason || (SELECT string_agg(content, ' ') FROM codex_memory_contents)
		FROM codex_tasks WHERE id = $1`, task.ID)
	if strings.Contains(kept, token) {
		t.Errorf("the token is kept in clear: %s", kept)
	}
}

func TestLogTailThatIsNoText(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.cluster.termination = kube.Termination{ExitCode: 1, Reason: "Error", Message: "a\x00b\xff"}
	task := tasktest.Running(t, f.pool, tasktest.Task{})
	if err := f.Finalize(t.Context(), observe(task, kube.PhaseFailed)); err != nil {
		t.Fatal(err)
	}
	got := tasktest.Get(t, f.pool, task.ID)
	if got.Status != "failed" || !strings.HasSuffix(value(got.FailureReason), "\nab\uFFFD") {
		t.Errorf("task is %s: %q", got.Status, value(got.FailureReason))
	}
}

func TestConcurrentEnds(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := tasktest.Running(t, f.pool, tasktest.Task{})
	var group sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		group.Go(func() { errs[i] = f.Finalize(context.Background(), observe(task, kube.PhaseSucceeded)) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{event.TypeTaskFinished}, f.sink.types()); diff != "" {
		t.Errorf("one end, announced once: %s", diff)
	}
}

func TestRetryThenSuccess(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.cluster.termination = kube.Termination{ExitCode: 1, Reason: "Error"}
	task := tasktest.Running(t, f.pool, tasktest.Task{MaxAttempts: 2})
	tasktest.Report(t, f.pool, task.ID, "failed", "the limit is below the request")
	first := observe(task, kube.PhaseFailed)
	if err := f.Finalize(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	got := tasktest.Get(t, f.pool, task.ID)
	if got.Status != "queued" || got.NotBefore == nil || !strings.Contains(*got.FailureReason, "below the request") {
		t.Fatalf("task is %s, not before %v: %s", got.Status, got.NotBefore, value(got.FailureReason))
	}
	tasktest.Launch(t, f.pool, task.ID)
	if err := f.Finalize(t.Context(), first); err != nil { // late, of the first attempt
		t.Fatal(err)
	}
	if status := tasktest.Get(t, f.pool, task.ID).Status; status != "running" {
		t.Fatalf("the late end of the first attempt made the task %s", status)
	}
	if err := f.Finalize(t.Context(), observe(tasktest.Get(t, f.pool, task.ID), kube.PhaseSucceeded)); err != nil {
		t.Fatal(err)
	}
	got = tasktest.Get(t, f.pool, task.ID)
	if got.Status != "succeeded" || got.Attempt != 2 || got.FailureClass != nil {
		t.Errorf("task is %s at attempt %d, failure %v", got.Status, got.Attempt, got.FailureClass)
	}
	if diff := cmp.Diff([]string{event.TypeTaskRequeued, event.TypeTaskFinished}, f.sink.types()); diff != "" {
		t.Error(diff)
	}
	lesson := tasktest.Scan[string](t, f.pool, `SELECT content FROM codex_task_memory_index JOIN codex_memory_contents USING (content_hash) WHERE task_id = $1 AND kind = 'outcome' ORDER BY ordinal DESC LIMIT 1`, task.ID)
	if !strings.Contains(lesson, "Attempt 1 had failed: the agent reported: the limit is below the request") {
		t.Errorf("the lesson lacks how the first attempt failed:\n%s", lesson)
	}
}

func TestDiffAndArtifacts(t *testing.T) {
	t.Parallel()
	f := setup(t)
	manifests := func(v string) string {
		return `[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"b"},"data":{"key":"` + v + `"}},
			{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"b"},"data":{"key":"sha256-salted:` + strings.Repeat("0", 64) + `"}}]`
	}
	task := tasktest.Running(t, f.pool, tasktest.Task{Before: manifests("old")})
	tasktest.Snapshot(t, f.pool, task.ID, "after", 1, manifests("new"))
	good := f.upload(t, task.ID, "good.txt", []byte("what was announced"), []byte("what was announced"))
	bad := f.upload(t, task.ID, "bad.txt", []byte("what was announced"), []byte("what was uploadedd"))
	missing := f.upload(t, task.ID, "missing.txt", []byte("never uploaded"), nil)
	if err := f.Finalize(t.Context(), observe(task, kube.PhaseSucceeded)); err != nil {
		t.Fatal(err)
	}
	got := tasktest.Get(t, f.pool, task.ID)
	if !strings.HasPrefix(value(got.DiffDigest), "sha256:") || !strings.Contains(value(got.DiffUnified), "+  key: new") {
		t.Errorf("diff %s:\n%s", value(got.DiffDigest), value(got.DiffUnified))
	}
	for id, want := range map[uuid.UUID]string{good: "verified", bad: "rejected", missing: "rejected"} {
		if status := tasktest.Scan[string](t, f.pool, `SELECT status FROM codex_task_artifacts WHERE id = $1`, id); status != want {
			t.Errorf("artifact is %s, want %s", status, want)
		}
	}
	audited := tasktest.Scan[string](t, f.pool, `SELECT diff_digest FROM codex_task_transitions WHERE task_id = $1 AND to_status = 'succeeded'`, task.ID)
	if audited != value(got.DiffDigest) {
		t.Errorf("the audit has the digest %s", audited)
	}
}

// upload announces an artifact with the given content and stores other bytes,
// or none if uploaded is nil.
func (f *fixture) upload(t *testing.T, task uuid.UUID, name string, announced, uploaded []byte) uuid.UUID {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	key := artifact.Key(task.String(), id.String())
	sum := sha256.Sum256(announced)
	tasktest.Exec(t, f.pool, `INSERT INTO codex_task_artifacts (id, task_id, event_sequence, name, content_type, size_bytes, sha256, object_key)
		VALUES ($1, $2, 1, $3, 'text/plain', $4, $5, $6)`, id, task, name, len(announced), sum[:], key)
	if uploaded != nil {
		_, err := f.bucket.Client.PutObject(t.Context(), f.bucket.Name, key, bytes.NewReader(uploaded), int64(len(uploaded)), minio.PutObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	return id
}

// storageAway is an object store that refuses connections.
func storageAway(t *testing.T) *artifact.Store {
	t.Helper()
	nowhere := &s3test.Bucket{Name: "graf", Region: "us-east-1", AccessKeyID: "a", SecretAccessKey: "bbbbbbbb"}
	return storageAt(t, "http://127.0.0.1:1", nowhere)
}

func storageAt(t *testing.T, url string, bucket *s3test.Bucket) *artifact.Store {
	t.Helper()
	store, err := artifact.New(artifact.Config{
		Endpoint: url, Bucket: bucket.Name, Region: bucket.Region, AccessKeyID: bucket.AccessKeyID,
		SecretAccessKey: bucket.SecretAccessKey, MaxBytes: 1 << 20, UploadExpiry: time.Minute, DownloadExpiry: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestStorageAway(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := tasktest.Running(t, f.pool, tasktest.Task{})
	f.upload(t, task.ID, "a.txt", []byte("a"), []byte("a"))
	working := f.artifacts
	f.artifacts = storageAway(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := f.Finalize(ctx, observe(task, kube.PhaseSucceeded)); err == nil {
		t.Fatal("finalized without having seen the artifact")
	}
	if status := tasktest.Get(t, f.pool, task.ID).Status; status != "finalizing" {
		t.Fatalf("task is %s, want finalizing", status)
	}
	f.artifacts = working
	f.cluster.executions = []kube.Observation{observe(task, kube.PhaseSucceeded)}
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET finalizing_at = now() - interval '1 minute' WHERE id = $1`, task.ID)
	if err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := tasktest.Get(t, f.pool, task.ID).Status; status != "succeeded" {
		t.Errorf("task is %s after the sweep, want succeeded", status)
	}
}

// Who may not list a bucket of AWS is told of what is missing that it is forbidden. The end waits for that to be mended,
// but not for ever.
func TestStorageRefuses(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.config.LogWait = time.Minute
	f.artifacts = storageAt(t, s3test.Unlisted(t), f.bucket)
	task := tasktest.Running(t, f.pool, tasktest.Task{})
	there := f.upload(t, task.ID, "a.txt", []byte("a"), []byte("a"))
	missing := f.upload(t, task.ID, "b.txt", []byte("b"), nil)
	if err := f.Finalize(t.Context(), observe(task, kube.PhaseSucceeded)); !errors.Is(err, artifact.ErrRefused) {
		t.Fatalf("got %v, want %v", err, artifact.ErrRefused)
	}
	if status := tasktest.Get(t, f.pool, task.ID).Status; status != "finalizing" {
		t.Fatalf("task is %s, want finalizing", status)
	}
	f.cluster.executions = []kube.Observation{observe(task, kube.PhaseSucceeded)}
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET finalizing_at = now() - interval '61 seconds' WHERE id = $1`, task.ID)
	if err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := tasktest.Get(t, f.pool, task.ID).Status; status != "succeeded" {
		t.Errorf("task is %s after the sweep, want succeeded", status)
	}
	for id, want := range map[uuid.UUID]string{there: "verified: ", missing: "rejected: could not be checked: look up "} {
		got := tasktest.Scan[string](t, f.pool, `SELECT concat(status, ': ', status_reason) FROM codex_task_artifacts WHERE id = $1`, id)
		if !strings.HasPrefix(got, want) {
			t.Errorf("artifact is %q, want %q", got, want)
		}
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	old := `UPDATE codex_tasks SET started_at = now() - interval '10 minutes' WHERE id = $1`
	for name, c := range map[string]struct {
		prepare func(t *testing.T, f *fixture, task query.Task)
		status  string
		events  []string
	}{
		"the end was not heard": {
			prepare: func(t *testing.T, f *fixture, task query.Task) {
				tasktest.Exec(t, f.pool, old, task.ID)
				f.cluster.executions = []kube.Observation{observe(task, kube.PhaseSucceeded)}
			},
			status: "succeeded", events: []string{event.TypeTaskFinished},
		},
		"the Job is gone": {
			prepare: func(t *testing.T, f *fixture, task query.Task) { tasktest.Exec(t, f.pool, old, task.ID) },
			status:  "failed", events: []string{event.TypeTaskFinished},
		},
		"it runs": {
			prepare: func(t *testing.T, f *fixture, task query.Task) {
				tasktest.Exec(t, f.pool, old, task.ID)
				f.cluster.executions = []kube.Observation{observe(task, kube.PhaseActive)}
			},
			status: "running", events: []string{},
		},
		"it overruns": {
			prepare: func(t *testing.T, f *fixture, task query.Task) {
				tasktest.Exec(t, f.pool, old, task.ID)
				tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET deadline_at = now() - interval '5 minutes' WHERE id = $1`, task.ID)
				f.cluster.executions = []kube.Observation{observe(task, kube.PhaseActive)}
			},
			status: "timed_out", events: []string{event.TypeTaskFinished},
		},
		"its cancellation had no effect": {
			prepare: func(t *testing.T, f *fixture, task query.Task) {
				tasktest.Exec(t, f.pool, old, task.ID)
				tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET cancel_requested_at = now() - interval '5 minutes', cancel_requested_by = 'ops' WHERE id = $1`, task.ID)
				f.cluster.executions = []kube.Observation{observe(task, kube.PhaseActive)}
			},
			status: "running", events: []string{event.TypeTaskCancelRequested},
		},
		"its pods do not go away": {
			prepare: func(t *testing.T, f *fixture, task query.Task) {
				tasktest.Exec(t, f.pool, old, task.ID)
				tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET cancel_requested_at = now() - interval '5 minutes', cancel_requested_by = 'ops' WHERE id = $1`, task.ID)
				stuck := observe(task, kube.PhaseActive)
				stuck.Deleting, stuck.StopsBy = true, time.Now().Add(-f.config.Grace-time.Second)
				f.cluster.executions = []kube.Observation{stuck}
			},
			status: "cancelled", events: []string{event.TypeTaskFinished},
		},
		"its pod has its grace": {
			prepare: func(t *testing.T, f *fixture, task query.Task) {
				tasktest.Exec(t, f.pool, old, task.ID)
				tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET cancel_requested_at = now() - interval '5 seconds', cancel_requested_by = 'ops' WHERE id = $1`, task.ID)
				ending := observe(task, kube.PhaseActive)
				ending.Deleting, ending.StopsBy = true, time.Now().Add(-f.config.Grace+time.Minute)
				f.cluster.executions = []kube.Observation{ending}
			},
			status: "running", events: []string{},
		},
		"it was left in the queue": {
			prepare: func(t *testing.T, f *fixture, task query.Task) {
				queued := tasktest.Queued(t, f.pool, tasktest.Task{})
				tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET queued_at = now() - interval '1 minute' WHERE id = $1`, queued.ID)
			},
			status: "running", events: []string{event.TypeQueueDue},
		},
		"its texts were not embedded": {
			prepare: func(t *testing.T, f *fixture, task query.Task) {
				tasktest.Exec(t, f.pool, `UPDATE codex_memory_contents SET created_at = now() - interval '1 minute'`)
			},
			status: "running", events: []string{event.TypeMemoryPending},
		},
		"an event was not published": {
			prepare: func(t *testing.T, f *fixture, task query.Task) {
				e := event.NewTask(t.Context(), event.TypeTaskStarted, event.SourceLaunch, task.ID, event.TaskStarted{TaskID: task.ID})
				encoded, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				tasktest.Exec(t, f.pool, `INSERT INTO codex_outbox (event, claimed_until) VALUES ($1, now() - interval '1 second')`, encoded)
			},
			status: "running", events: []string{event.TypeTaskStarted},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			task := tasktest.Running(t, f.pool, tasktest.Task{})
			c.prepare(t, f, task)
			for range 2 {
				if err := f.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if status := tasktest.Get(t, f.pool, task.ID).Status; status != c.status {
				t.Errorf("task is %s, want %s", status, c.status)
			}
			if got := slices.Compact(f.sink.types()); !slices.Equal(got, c.events) {
				t.Errorf("announced %v, want %v", got, c.events)
			}
		})
	}
}

func TestSweepReclaimsSlots(t *testing.T) {
	t.Parallel()
	f := setup(t)
	running := tasktest.Running(t, f.pool, tasktest.Task{})
	ended := tasktest.Running(t, f.pool, tasktest.Task{})
	for _, status := range []string{"finalizing", "succeeded"} {
		tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = $2, updated_by = 'test' WHERE id = $1`, ended.ID, status)
	}
	_, err := f.slots.Rebuild(t.Context(), func(context.Context) (limiter.State, error) {
		var state limiter.State
		for _, task := range []query.Task{running, ended} {
			state.Held = append(state.Held, limiter.Lease{Until: time.Now().Add(time.Hour), Task: limiter.Task{
				ID: limiter.AttemptID(task.ID.String(), 1), Caller: "test", CreatedAt: time.Now(),
			}})
		}
		return state, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	held, err := f.slots.Held(t.Context())
	if want := []string{limiter.AttemptID(running.ID.String(), 1)}; err != nil || !slices.Equal(held, want) {
		t.Errorf("held %v (%v), want the running task's slot alone", held, err)
	}
}

// What goes on although its attempt is over is removed, and nothing else.
func TestSweepRemovesWhatIsLeft(t *testing.T) {
	t.Parallel()
	f := setup(t)
	running, ended, deleting, kept := tasktest.Running(t, f.pool, tasktest.Task{}), tasktest.Running(t, f.pool, tasktest.Task{}),
		tasktest.Running(t, f.pool, tasktest.Task{}), tasktest.Running(t, f.pool, tasktest.Task{})
	for _, task := range []query.Task{ended, deleting, kept} {
		for _, status := range []string{"finalizing", "failed"} {
			tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = $2, updated_by = 'test' WHERE id = $1`, task.ID, status)
		}
	}
	others := ended
	others.ID = uuid.New()
	going := observe(deleting, kube.PhaseActive)
	going.Deleting = true
	f.cluster.executions = []kube.Observation{
		observe(running, kube.PhaseActive), observe(ended, kube.PhaseActive), observe(others, kube.PhaseActive), going, observe(kept, kube.PhaseFailed),
	}
	if err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{kube.JobName(ended.ID.String(), 1)}; !slices.Equal(f.cluster.deleted, want) {
		t.Errorf("removed %v, want %v", f.cluster.deleted, want)
	}
}
