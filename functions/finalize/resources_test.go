package finalize

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kubetest"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/snapshot"
	"github.com/graf-run/graf/shared/tasktest"
)

// acting is a finalizer whose tasks act in a namespace of their own.
type acting struct {
	*fixture
	server *kubetest.Cluster
}

func setupActing(t *testing.T) acting {
	t.Helper()
	a := acting{fixture: setup(t), server: kubetest.Open(t)}
	a.config.Namespace = a.server.Namespace
	return a
}

func (f acting) configMap(name, value string) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"namespace": f.server.Namespace, "name": name},
		"data": map[string]any{"key": value},
	}
}

// task makes a task that runs with rights on a ConfigMap, as launch does.
func (f acting) task(t *testing.T) query.Task {
	t.Helper()
	task := tasktest.Running(t, f.pool, tasktest.Task{})
	grants := []grant.Grant{{
		Target: grant.Target{APIVersion: "v1", Kind: "ConfigMap", Namespace: f.server.Namespace, Name: "limits"}, Verbs: []string{"get", "patch"},
	}}
	encoded, err := json.Marshal(grants)
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET grants = $2 WHERE id = $1`, task.ID, encoded)
	container, actions := kube.Identities(task.ID.String(), int(task.Attempt), f.server.Namespace, grants)
	for _, identity := range []kube.RightsSpec{container, actions} {
		if err := f.resources.Grant(t.Context(), identity); err != nil {
			t.Fatal(err)
		}
	}
	f.apply(t, "1")
	state, err := f.resources.Snapshot(t.Context(), grant.Readable(grants), task.ManifestSalt)
	if err != nil {
		t.Fatal(err)
	}
	if err := snapshot.Store(t.Context(), query.New(f.pool), task.ID, snapshot.Before, 0, state); err != nil {
		t.Fatal(err)
	}
	return tasktest.Get(t, f.pool, task.ID)
}

func (f acting) apply(t *testing.T, value string) {
	t.Helper()
	_, err := f.resources.Apply(t.Context(), f.configMap("limits", value), kube.ApplyOptions{FieldManager: "agent", Force: true})
	if err != nil {
		t.Fatal(err)
	}
}

func (f acting) identities(t *testing.T) int {
	t.Helper()
	list, err := f.resources.ListIdentities(t.Context(), f.server.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// The diff is of what the cluster has, whatever the agent says; with the end the rights end.
func TestEndReadsTheCluster(t *testing.T) {
	t.Parallel()
	f := setupActing(t)
	task := f.task(t)
	f.apply(t, "2")
	tasktest.Snapshot(t, f.pool, task.ID, "after", 1, `[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"lie","namespace":"x"}}]`)
	for range 2 { // the event comes twice
		if err := f.Finalize(t.Context(), observe(task, kube.PhaseSucceeded)); err != nil {
			t.Fatal(err)
		}
	}
	got := tasktest.Get(t, f.pool, task.ID)
	unified := value(got.DiffUnified)
	if got.Status != "succeeded" || !strings.Contains(unified, "-  key: \"1\"") || !strings.Contains(unified, "+  key: \"2\"") || strings.Contains(unified, "lie") {
		t.Errorf("task is %s with the diff %s", got.Status, unified)
	}
	if n := f.identities(t); n != 0 {
		t.Errorf("%d identities are left", n)
	}
}

// What the task has left is read when the actions that were under way are over, or cannot go on.
func TestEndWaitsForActions(t *testing.T) {
	t.Parallel()
	f := setupActing(t)
	task := f.task(t)
	q := query.New(f.pool)
	action, abandoned := uuid.New(), uuid.New()
	for id, span := range map[uuid.UUID]time.Duration{action: time.Minute, abandoned: 300 * time.Millisecond} {
		if n, err := q.BeginActing(t.Context(), query.BeginActingParams{
			ID: id, Span: span, TaskID: task.ID, Attempt: task.Attempt,
		}); err != nil || n != 1 {
			t.Fatal(n, err)
		}
	}
	hurried, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := f.Finalize(hurried, observe(task, kube.PhaseSucceeded)); err == nil {
		t.Fatal("ended while an action was under way")
	}
	late := uuid.New()
	if n, err := q.BeginActing(t.Context(), query.BeginActingParams{
		ID: late, Span: time.Minute, TaskID: task.ID, Attempt: task.Attempt,
	}); err != nil || n != 0 {
		t.Errorf("%d actions begin after the end: %v", n, err)
	}
	ended := make(chan error)
	go func() { ended <- f.Finalize(t.Context(), observe(task, kube.PhaseSucceeded)) }()
	time.Sleep(500 * time.Millisecond)
	f.apply(t, "2")
	if err := errors.Join(q.EndActing(t.Context(), action), <-ended); err != nil {
		t.Fatal(err)
	}
	got := tasktest.Get(t, f.pool, task.ID)
	if got.Status != "succeeded" || !strings.Contains(value(got.DiffUnified), "+  key: \"2\"") {
		t.Errorf("task is %s with the diff %s", got.Status, value(got.DiffUnified))
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Rights whose end was cut off are taken away by the sweep; those of attempts that go on are not.
func TestSweepTakesRightsAway(t *testing.T) {
	t.Parallel()
	f := setupActing(t)
	ended, running := f.task(t), f.task(t)
	var revoked atomic.Int64
	settings, err := f.server.Config().REST()
	if err != nil {
		t.Fatal(err)
	}
	settings.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/serviceaccounts") {
				revoked.Add(1)
			}
			return next.RoundTrip(r)
		})
	})
	if f.resources, err = kube.NewForConfig(settings); err != nil {
		t.Fatal(err)
	}
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = 'finalizing' WHERE id = $1`, ended.ID)
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = 'failed' WHERE id = $1`, ended.ID)
	if err := f.revokeEnded(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := f.resources.ListIdentities(t.Context(), f.server.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	if n := revoked.Load(); n != 1 { // The attempt has two accounts.
		t.Errorf("revoked %d times, want once", n)
	}
	if len(list) != 2 || list[0].TaskID != running.ID.String() {
		t.Errorf("left are %v, want the two of task %s", list, running.ID)
	}
}
