package worker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/postgrestest"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/tasktest"
)

var update = flag.Bool("update", false, "record histories anew")

// startTemporal starts a real Temporal server, which make setup-test builds, and
// gives its address and a namespace. It ends with its standard input.
func startTemporal(t *testing.T) (address, namespace string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	builds, err := filepath.Glob(filepath.Join(cache, "graf", "bin", "temporalserver-v*", "temporalserver"))
	if err != nil || len(builds) == 0 {
		t.Fatal("there is no Temporal server: run make setup-test")
	}
	slices.Sort(builds)
	cmd := exec.Command(builds[len(builds)-1])
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = cmd.Wait() // how it ends is of no matter
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("the Temporal server did not start: %v", err)
	}
	address, namespace, _ = strings.Cut(strings.TrimSpace(line), " ")
	return address, namespace
}

// pipeline stands where launch and finalize do: it moves the task as they do.
// local/platform has tests with the real ones.
type pipeline struct {
	pool *pgxpool.Pool
	// putOff is how many launches are put off first.
	putOff atomic.Int32
	// ended says that the execution has ended.
	ended atomic.Bool
}

func (p *pipeline) move(ctx context.Context, task uuid.UUID, from, to string, attempt int) error {
	_, err := p.pool.Exec(ctx, `UPDATE codex_tasks SET status = $3, attempt = $4, updated_by = 'test',
		deadline_at = now() + interval '1 hour' WHERE id = $1 AND status = $2`, task, from, to, attempt)
	return err
}

func (p *pipeline) Prepare(ctx context.Context, task uuid.UUID, attempt int) error {
	return p.move(ctx, task, "queued", "launching", attempt)
}

func (p *pipeline) Launch(ctx context.Context, task uuid.UUID, attempt int) error {
	if p.putOff.Add(-1) >= 0 {
		return nil
	}
	return p.move(ctx, task, "launching", "running", attempt)
}

func (p *pipeline) NoteEnd(ctx context.Context, task uuid.UUID, attempt int) error {
	if !p.ended.Load() {
		return nil
	}
	return p.move(ctx, task, "running", "finalizing", attempt)
}

func (p *pipeline) Observe(ctx context.Context, task uuid.UUID, attempt int) error {
	return p.move(ctx, task, "finalizing", "succeeded", attempt)
}

type fixture struct {
	*Worker
	pipeline *pipeline
	task     query.Task
	attempt  Attempt
}

// setup makes a worker, which does not poll yet, and a task that waits.
func setup(t *testing.T, address, namespace string) *fixture {
	t.Helper()
	return setupWith(t, TemporalConfig{Address: address, Namespace: namespace})
}

// setupWith does so with a configuration, and a task queue of the worker's own.
func setupWith(t *testing.T, config TemporalConfig) *fixture {
	t.Helper()
	pool := postgrestest.New(t)
	task := tasktest.Queued(t, pool, tasktest.Task{})
	tasktest.Exec(t, pool, `UPDATE codex_tasks SET orchestration_mode = 'temporal' WHERE id = $1`, task.ID)
	config.TaskQueue = task.ID.String()
	options, err := config.options()
	if err != nil {
		t.Fatal(err)
	}
	options.Identity, options.Logger = "test", log.NewStructuredLogger(slog.New(slog.DiscardHandler))
	temporal, err := client.NewLazyClient(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(temporal.Close)
	p := &pipeline{pool: pool}
	return &fixture{
		pipeline: p, task: task, attempt: Attempt{TaskID: task.ID, Number: 1},
		Worker: &Worker{
			pool: pool, client: temporal, config: config, log: slog.New(slog.DiscardHandler),
			activities: &Activities{pool: pool, launcher: p, finalizer: p, grace: time.Minute},
		},
	}
}

// polls has the worker take tasks until the test ends.
func (f *fixture) polls(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.poll(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (f *fixture) request(ctx context.Context) error {
	return f.handleExecutionRequested(ctx, event.NewTask(ctx, event.TypeExecutionRequested, event.SourceLaunch, f.task.ID,
		event.ExecutionRequested{TaskID: f.task.ID, Attempt: 1}))
}

// jobEnded is an event that tells of the end of the attempt's Job.
func (f *fixture) jobEnded(ctx context.Context) error {
	return f.handlers()[event.TypeResourceDelete](ctx, event.New(ctx, event.TypeResourceDelete, "https://10.96.0.1:443", "",
		map[string]any{"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{
			"name": workflowID(f.attempt), "namespace": "graf",
			"labels": map[string]string{kube.LabelTaskID: f.task.ID.String(), kube.LabelAttempt: "1"},
		}}))
}

// await waits until the task has a status.
func (f *fixture) await(t *testing.T, status string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		task, err := f.Worker.task(ctx, f.task.ID)
		if err != nil {
			t.Fatalf("wait until the task is %s: %v", status, err)
		}
		if task.Status == status {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the task is %s, not %s", task.Status, status)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestOnTemporal runs attempts on a real server, and records their histories.
func TestOnTemporal(t *testing.T) {
	t.Parallel()
	address, namespace := startTemporal(t)
	for name, run := range map[string]func(t *testing.T, f *fixture){
		"succeeds": func(t *testing.T, f *fixture) {
			for range 2 { // the event comes twice
				must(t, f.request(t.Context()))
			}
			f.await(t, "running")
			must(t, f.handleReported(t.Context(), event.NewTask(t.Context(), event.TypeTaskReported, event.SourceCallback, f.task.ID,
				event.TaskReported{TaskID: f.task.ID, Attempt: 1})))
			f.pipeline.ended.Store(true)
			must(t, f.jobEnded(t.Context()))
			f.await(t, "succeeded")
		},
		"put_off": func(t *testing.T, f *fixture) {
			f.pipeline.putOff.Store(1)
			must(t, f.request(t.Context()))
			f.await(t, "launching")
			must(t, f.request(t.Context()))
			f.await(t, "running")
			f.pipeline.ended.Store(true)
			must(t, f.jobEnded(t.Context()))
			f.await(t, "succeeded")
		},
		"ended_by_the_sweep": func(t *testing.T, f *fixture) {
			must(t, f.request(t.Context()))
			f.await(t, "running")
			must(t, f.pipeline.move(t.Context(), f.task.ID, "running", "finalizing", 1))
			must(t, f.pipeline.move(t.Context(), f.task.ID, "finalizing", "failed", 1))
			must(t, f.handleFinished(t.Context(), event.NewTask(t.Context(), event.TypeTaskFinished, event.SourceFinalize, f.task.ID,
				event.TaskFinished{TaskID: f.task.ID, Status: "failed", Attempts: 1})))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, address, namespace)
			f.polls(t)
			run(t, f)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			must(t, f.client.GetWorkflow(ctx, workflowID(f.attempt), "").Get(ctx, nil))
			// What comes after the end changes nothing and is no error.
			must(t, f.request(ctx))
			must(t, f.jobEnded(ctx))
			f.record(ctx, t, name)
		})
	}
}

// record keeps the attempt's history, without the name of this machine.
func (f *fixture) record(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	history := &historypb.History{}
	events := f.client.GetWorkflowHistory(ctx, workflowID(f.attempt), "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		next, err := events.Next()
		must(t, err)
		history.Events = append(history.Events, next)
	}
	text, err := protojson.MarshalOptions{Multiline: true, Indent: "  "}.Marshal(history)
	must(t, err)
	if f.task.Prompt == "" || bytes.Contains(text, []byte(f.task.Prompt)) {
		t.Error("the history has the prompt")
	}
	if !*update {
		return
	}
	host, err := os.Hostname()
	must(t, err)
	text = bytes.ReplaceAll(text, []byte(`"`+host+`:`), []byte(`"host:`)) // of sticky task queues
	must(t, os.MkdirAll("testdata", 0o750))
	must(t, os.WriteFile(filepath.Join("testdata", name+".history.json"), append(text, '\n'), 0o600))
}

// Events about what is not the worker's, or not there, are none of its business.
func TestOtherEvents(t *testing.T) {
	t.Parallel()
	address, namespace := startTemporal(t)
	f := setup(t, address, namespace)
	must(t, f.jobEnded(t.Context())) // there is no workflow
	for name, change := range map[string]string{
		"another attempt": `UPDATE codex_tasks SET status = 'launching', attempt = 2, updated_by = 'test' WHERE id = $1`,
		"another mode":    `UPDATE codex_tasks SET orchestration_mode = 'direct', attempt = 1 WHERE id = $1`,
	} {
		f := setup(t, address, namespace)
		tasktest.Exec(t, f.pool, change, f.task.ID)
		must(t, f.request(t.Context()))
		must(t, f.jobEnded(t.Context()))
		if _, err := f.client.DescribeWorkflowExecution(t.Context(), workflowID(f.attempt), ""); err == nil {
			t.Errorf("%s: a workflow was started", name)
		}
	}
}

// While Temporal is away the Broker is to deliver again.
func TestTemporalAway(t *testing.T) {
	t.Parallel()
	f := setup(t, "127.0.0.1:1", "default")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	for name, handle := range map[string]func(context.Context) error{"request": f.request, "end": f.jobEnded} {
		if err := handle(ctx); !errors.Is(err, problem.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", name, err)
		}
	}
}
