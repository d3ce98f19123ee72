package finalize

import (
	"encoding/json"
	"strings"
	"testing"

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

// Rights whose end was cut off are taken away by the sweep; those of attempts that go on are not.
func TestSweepTakesRightsAway(t *testing.T) {
	t.Parallel()
	f := setupActing(t)
	ended, running := f.task(t), f.task(t)
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = 'finalizing' WHERE id = $1`, ended.ID)
	tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET status = 'failed' WHERE id = $1`, ended.ID)
	if err := f.revokeEnded(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := f.resources.ListIdentities(t.Context(), f.server.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].TaskID != running.ID.String() {
		t.Errorf("left are %v, want the two of task %s", list, running.ID)
	}
}
