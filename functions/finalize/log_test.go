package finalize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/tasktest"
)

// logging is setup for a function that keeps logs, of containers that wrote text.
func logging(t *testing.T, text string) *fixture {
	t.Helper()
	f := setup(t)
	f.config.LogMaxBytes, f.config.LogTimeout, f.config.LogWait = 16<<20, 5*time.Second, time.Minute
	f.cluster.written = wrote(func() io.Reader { return strings.NewReader(text) })
	return f
}

func wrote(text func() io.Reader) func(kube.Execution) (io.ReadCloser, error) {
	return func(kube.Execution) (io.ReadCloser, error) { return io.NopCloser(text()), nil }
}

// keptLog is the log of a task's attempt as anybody gets it who downloads it; "" if there is none.
func (f *fixture) keptLog(t *testing.T, task query.Task) string {
	t.Helper()
	rows, err := query.New(f.pool).ListVerifiedArtifacts(t.Context(), task.ID, 10)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(rows, func(r query.ListVerifiedArtifactsRow) bool { return r.Source == "graf" && r.Attempt == task.Attempt })
	if at < 0 {
		return ""
	}
	row := rows[at]
	if want := fmt.Sprintf("attempt-%d.log", task.Attempt); row.Name != want || row.ContentType != "text/plain; charset=utf-8" {
		t.Errorf("it is %s (%s), want %s", row.Name, row.ContentType, want)
	}
	link, err := f.artifacts.PresignDownload(t.Context(), row.ObjectKey, row.Name)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("download: %s, %v", answer.Status, err)
	}
	sum := sha256.Sum256(content)
	if int64(len(content)) != row.SizeBytes || hex.EncodeToString(sum[:]) != hex.EncodeToString(row.Sha256) {
		t.Errorf("%d bytes with digest %x, noted were %d and %x", len(content), sum, row.SizeBytes, row.Sha256)
	}
	return string(content)
}

// objects counts what is in object storage.
func (f *fixture) objects(t *testing.T) int {
	t.Helper()
	n := 0
	for object := range f.bucket.Client.ListObjects(t.Context(), f.bucket.Name, minio.ListObjectsOptions{Recursive: true}) {
		if object.Err != nil {
			t.Fatal(object.Err)
		}
		n++
	}
	return n
}

func TestLogIsKept(t *testing.T) {
	t.Parallel()
	token, _ := auth.NewTaskToken()
	for name, c := range map[string]struct {
		text, want string
	}{
		"text":     {"reading the manifest\ndone\n", "reading the manifest\ndone\n"},
		"a secret": {"export GRAF_CALLBACK_TOKEN=" + token + "\nuse " + token + "\n", "export GRAF_CALLBACK_TOKEN=[redacted]\nuse [redacted]\n"},
		"no UTF-8": {"a\xff\xfeb\n", "a\uFFFDb\n"},
		"nothing":  {"", ""},
	} {
		for phase, status := range map[kube.Phase]string{
			kube.PhaseSucceeded: "succeeded", kube.PhaseFailed: "failed", kube.PhaseDeadlineExceeded: "timed_out",
		} {
			t.Run(name+"/"+status, func(t *testing.T) {
				t.Parallel()
				f := logging(t, c.text)
				f.cluster.written = wrote(func() io.Reader { return iotest.OneByteReader(strings.NewReader(c.text)) })
				f.cluster.termination = kube.Termination{ExitCode: 1, Reason: "Error"}
				task := tasktest.Running(t, f.pool, tasktest.Task{})
				for range 2 { // the event comes twice
					if err := f.Finalize(t.Context(), observe(task, phase)); err != nil {
						t.Fatal(err)
					}
				}
				if got := tasktest.Get(t, f.pool, task.ID).Status; got != status {
					t.Errorf("task is %s, want %s", got, status)
				}
				if got := f.keptLog(t, task); got != c.want {
					t.Errorf("kept %q, want %q", got, c.want)
				}
				if n, want := f.objects(t), min(len(c.want), 1); n != want {
					t.Errorf("%d objects, want %d", n, want)
				}
			})
		}
	}
}

func TestLogLargerThanIsKept(t *testing.T) {
	t.Parallel()
	f := logging(t, "")
	f.config.LogMaxBytes = 12 << 20 // goes up in parts
	line := strings.Repeat("reconciled ", 10) + "\n"
	f.cluster.written = wrote(func() io.Reader {
		readers := []io.Reader{strings.NewReader("the first line\n")}
		for range 20 {
			readers = append(readers, strings.NewReader(strings.Repeat(line, (1<<20)/len(line))))
		}
		return io.MultiReader(append(readers, strings.NewReader("the last line\n"))...)
	})
	task := tasktest.Running(t, f.pool, tasktest.Task{})
	if err := f.Finalize(t.Context(), observe(task, kube.PhaseSucceeded)); err != nil {
		t.Fatal(err)
	}
	got := f.keptLog(t, task)
	if !strings.HasPrefix(got, "the first line\n") || !strings.HasSuffix(got, "the last line\n") ||
		!strings.Contains(got, "bytes of the log were left out here]\n") || len(got) > 12<<20+100 || len(got) < 11<<20 {
		t.Errorf("kept %d bytes: %.40q … %q", len(got), got, got[max(0, len(got)-40):])
	}
}

// Each attempt has a log of its own, and both stay.
func TestLogOfEachAttempt(t *testing.T) {
	t.Parallel()
	f := logging(t, "")
	f.cluster.termination = kube.Termination{ExitCode: 1, Reason: "Error"}
	f.cluster.written = func(e kube.Execution) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("of " + e.Name)), nil
	}
	first := tasktest.Running(t, f.pool, tasktest.Task{MaxAttempts: 2})
	if err := f.Finalize(t.Context(), observe(first, kube.PhaseFailed)); err != nil {
		t.Fatal(err)
	}
	tasktest.Launch(t, f.pool, first.ID)
	second := tasktest.Get(t, f.pool, first.ID)
	if err := f.Finalize(t.Context(), observe(second, kube.PhaseSucceeded)); err != nil {
		t.Fatal(err)
	}
	for _, task := range []query.Task{first, second} {
		if got, want := f.keptLog(t, task), "of "+kube.JobName(task.ID.String(), int(task.Attempt)); got != want {
			t.Errorf("kept %q, want %q", got, want)
		}
	}
}

// Several that bring about the same end keep one log, and leave no other object.
func TestLogOfConcurrentEnds(t *testing.T) {
	t.Parallel()
	f := logging(t, "what it wrote\n")
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
	if got := f.keptLog(t, task); got != "what it wrote\n" || f.objects(t) != 1 {
		t.Errorf("kept %q, in %d objects", got, f.objects(t))
	}
}

// A task ends without a log where there is none to be had.
func TestNoLogToBeHad(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   error
		most  int
		twice bool // the first time it is to come again
	}{
		"the pod is gone":             {err: kube.ErrNotFound, most: 1 << 20},
		"no right to it":              {err: kube.ErrForbidden, most: 1 << 20},
		"the container never ran":     {err: kube.ErrInvalid, most: 1 << 20},
		"the node does not answer":    {err: kube.ErrUnavailable, most: 1 << 20, twice: true},
		"logs are turned off":         {most: 0},
		"… although nothing could be": {err: kube.ErrUnavailable, most: 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := logging(t, "")
			f.config.LogMaxBytes = c.most
			f.cluster.written = func(kube.Execution) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader("text")), c.err
			}
			task := tasktest.Running(t, f.pool, tasktest.Task{})
			err := f.Finalize(t.Context(), observe(task, kube.PhaseSucceeded))
			if c.twice {
				if !errors.Is(err, kube.ErrUnavailable) {
					t.Fatalf("got %v, want %v", err, kube.ErrUnavailable)
				}
				tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET finalizing_at = now() - interval '2 minutes' WHERE id = $1`, task.ID)
				err = f.Finalize(t.Context(), observe(task, kube.PhaseSucceeded))
			}
			if err != nil {
				t.Fatal(err)
			}
			if status := tasktest.Get(t, f.pool, task.ID).Status; status != "succeeded" || f.keptLog(t, task) != "" {
				t.Errorf("task is %s, with the log %q", status, f.keptLog(t, task))
			}
		})
	}
}

// While object storage is away an end waits, but no longer than for LogWait; what hangs is not asked for each task.
func TestLogWhileStorageIsAway(t *testing.T) {
	t.Parallel()
	f := logging(t, "what it wrote\n")
	var asked sync.Map
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Path, true)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(away.Close)
	working := f.artifacts
	f.artifacts = storageAt(t, away.URL, f.bucket)
	waiting, first, second := tasktest.Running(t, f.pool, tasktest.Task{}), tasktest.Running(t, f.pool, tasktest.Task{}), tasktest.Running(t, f.pool, tasktest.Task{})
	for _, task := range []query.Task{waiting, first, second} {
		if err := f.Finalize(t.Context(), observe(task, kube.PhaseSucceeded)); !errors.Is(err, artifact.ErrUnavailable) {
			t.Fatalf("got %v, want %v", err, artifact.ErrUnavailable)
		}
	}
	count := 0
	asked.Range(func(any, any) bool { count++; return true })
	if count != 1 {
		t.Errorf("object storage was asked for %d logs, want one", count)
	}
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET finalizing_at = now() - interval '61 seconds' WHERE id <> $1`, waiting.ID)
	for _, task := range []query.Task{first, second} {
		if err := f.Finalize(t.Context(), observe(task, kube.PhaseSucceeded)); err != nil {
			t.Fatal(err)
		}
		if status := tasktest.Get(t, f.pool, task.ID).Status; status != "succeeded" || f.keptLog(t, task) != "" {
			t.Errorf("task is %s, want succeeded without a log", status)
		}
	}
	f.artifacts = working
	f.copier.awayUntil.Store(0)
	if err := f.Finalize(t.Context(), observe(waiting, kube.PhaseSucceeded)); err != nil {
		t.Fatal(err)
	}
	if got := f.keptLog(t, waiting); got != "what it wrote\n" {
		t.Errorf("once it was back, kept %q", got)
	}
}

// A log that does not end is cut off, and says so.
func TestLogThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	f := logging(t, "")
	f.config.LogTimeout = 100 * time.Millisecond
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "the beginning\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	f.cluster.written = func(kube.Execution) (io.ReadCloser, error) {
		ctx, cancel := context.WithTimeout(context.Background(), f.config.LogTimeout)
		t.Cleanup(cancel)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			return nil, err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		return answer.Body, nil
	}
	task := tasktest.Running(t, f.pool, tasktest.Task{})
	if err := f.Finalize(t.Context(), observe(task, kube.PhaseSucceeded)); err != nil {
		t.Fatal(err)
	}
	if got := f.keptLog(t, task); !strings.HasPrefix(got, "the beginning\n\n[graf: the log could not be read any further: ") {
		t.Errorf("kept %q", got)
	}
}

// The pods of an execution that is being stopped are gone once it has ended: the log is had before.
func TestLogOfAnExecutionThatIsStopped(t *testing.T) {
	t.Parallel()
	const past = `UPDATE codex_tasks SET started_at = now() - interval '10 minutes', deadline_at = now() - interval '5 minutes' WHERE id = $1`
	overdue := `{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}`
	for name, stop := range map[string]func(*testing.T, *fixture, query.Task) error{
		"by the cluster, past its deadline": func(t *testing.T, f *fixture, task query.Task) error {
			stopping := observe(task, kube.PhaseActive)
			stopping.Overdue = true
			f.cluster.executions = []kube.Observation{stopping}
			return f.handleExecutionUpdate(t.Context(), jobEvent(t.Context(), event.TypeResourceUpdate, task, overdue))
		},
		"by finalize": func(t *testing.T, f *fixture, task query.Task) error {
			tasktest.Exec(t, f.pool, past, task.ID)
			f.cluster.executions = []kube.Observation{observe(task, kube.PhaseActive)}
			return f.Sweep(t.Context())
		},
		"by its cancellation": func(t *testing.T, f *fixture, task query.Task) error {
			return f.handleExecutionDelete(t.Context(), jobEvent(t.Context(), event.TypeResourceDelete, task, active))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := logging(t, "until it was stopped\n")
			task := tasktest.Running(t, f.pool, tasktest.Task{})
			if err := stop(t, f, task); err != nil {
				t.Fatal(err)
			}
			f.cluster.written, f.cluster.executions = nil, nil
			if err := f.Finalize(t.Context(), observe(task, kube.PhaseDeadlineExceeded)); err != nil {
				t.Fatal(err)
			}
			if got := f.keptLog(t, task); got != "until it was stopped\n" {
				t.Errorf("kept %q", got)
			}
		})
	}
}

// Who may send events may not have a running task's log be taken for its whole log.
func TestForgedStopKeepsNoLog(t *testing.T) {
	t.Parallel()
	f := logging(t, "not all of it")
	task := tasktest.Running(t, f.pool, tasktest.Task{})
	f.cluster.executions = []kube.Observation{observe(task, kube.PhaseActive)}
	forged := jobEvent(t.Context(), event.TypeResourceUpdate, task, `{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}`)
	if err := f.handleExecutionUpdate(t.Context(), forged); err != nil || f.keptLog(t, task) != "" {
		t.Errorf("kept %q, %v", f.keptLog(t, task), err)
	}
}

// A request to undo whose event was lost is announced again, until it is carried out.
func TestSweepAnnouncesForgottenUndos(t *testing.T) {
	t.Parallel()
	f := setup(t)
	task := tasktest.Running(t, f.pool, tasktest.Task{})
	insert := func(status, age string) {
		tasktest.Exec(t, f.pool, `INSERT INTO codex_undos (id, task_id, requested_by, dry_run, status, requested_at)
			VALUES (gen_random_uuid(), $1, 'ops', $2, $3, now() - $4::interval)`, task.ID, status == "requested", status, age)
	}
	insert("requested", "1 minute")
	insert("requested", "1 second") // its own event is under way
	insert("done", "1 minute")
	for range 2 {
		if err := f.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.sink.types(); !slices.Equal(got, []string{event.TypeTaskUndoRequested, event.TypeTaskUndoRequested}) {
		t.Fatalf("announced %v, want one request at each sweep", got)
	}
	id := tasktest.Scan[string](t, f.pool, `SELECT id::text FROM codex_undos WHERE requested_at < now() - interval '30 seconds' AND status = 'requested'`)
	var data event.TaskUndoRequested
	if err := f.sink.sent[0].DataAs(&data); err != nil || data.UndoID.String() != id || data.TaskID != task.ID || data.RequestedBy != "ops" || !data.DryRun {
		t.Errorf("announced %+v, %v", data, err)
	}
	tasktest.Exec(t, f.pool, `UPDATE codex_undos SET status = 'done'`)
	for range undoBatch + 1 {
		insert("requested", "1 minute")
	}
	if err := f.Sweep(t.Context()); err != nil || len(f.sink.types()) != 2+undoBatch {
		t.Errorf("announced %d more, want %d: %v", len(f.sink.types())-2, undoBatch, err)
	}
}
