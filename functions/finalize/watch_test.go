package finalize

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kubetest"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/tasktest"
)

var (
	deploymentResource = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	revisionResource   = schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "revisions"}
)

// watching is a finalizer beside an API server on which a Deployment changes.
type watching struct {
	acting
}

func setupWatching(t *testing.T) watching {
	t.Helper()
	w := watching{setupActing(t)}
	w.config.MaxResourceEvents = 100
	return w
}

// reader is a task that runs and may do this with these targets.
func (w watching) reader(t *testing.T, grants ...grant.Grant) query.Task {
	t.Helper()
	task := tasktest.Running(t, w.pool, tasktest.Task{MaxAttempts: 2})
	encoded, err := json.Marshal(grants)
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Exec(t, w.pool, `UPDATE codex_tasks SET grants = $2 WHERE id = $1`, task.ID, encoded)
	return tasktest.Get(t, w.pool, task.ID)
}

// shop is a grant to get Deployment shop.
func (w watching) shop() grant.Grant {
	return grant.Grant{
		Target: grant.Target{APIVersion: "apps/v1", Kind: "Deployment", Namespace: w.server.Namespace, Name: "shop"},
		Verbs:  []string{"get", "list"},
	}
}

// create makes the resource of a golden event, or of another of its kind by edit.
func (w watching) create(t *testing.T, resource schema.GroupVersionResource, golden string) *unstructured.Unstructured {
	t.Helper()
	o := goldenObject(t, golden)
	status, _, _ := unstructured.NestedMap(o.Object, "status")
	o.SetNamespace(w.server.Namespace)
	o.SetUID("")
	o.SetResourceVersion("")
	live, err := w.server.Dynamic.Resource(resource).Namespace(w.server.Namespace).Create(t.Context(), o, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	live.Object["status"] = status
	return w.update(t, resource, live)
}

// update writes a resource's status, as its controller does.
func (w watching) update(t *testing.T, resource schema.GroupVersionResource, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	if err := unstructured.SetNestedField(o.Object, o.GetGeneration(), "status", "observedGeneration"); err != nil {
		t.Fatal(err)
	}
	live, err := w.server.Dynamic.Resource(resource).Namespace(w.server.Namespace).UpdateStatus(t.Context(), o, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// available writes how many of a Deployment's pods are.
func (w watching) available(t *testing.T, o *unstructured.Unstructured, n int64) *unstructured.Unstructured {
	t.Helper()
	o = o.DeepCopy()
	if err := unstructured.SetNestedField(o.Object, n, "status", "availableReplicas"); err != nil {
		t.Fatal(err)
	}
	return w.update(t, deploymentResource, o)
}

func (w watching) remove(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	err := w.server.Dynamic.Resource(deploymentResource).Namespace(w.server.Namespace).Delete(t.Context(), o.GetName(), metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// hear delivers an event about a resource, as the golden ones are.
func (w watching) hears(t *testing.T, eventType string, o *unstructured.Unstructured) {
	t.Helper()
	if err := w.deliver(t.Context(), eventType, o); err != nil {
		t.Fatal(err)
	}
}

func (w watching) deliver(ctx context.Context, eventType string, o *unstructured.Unstructured) error {
	handle := w.handleChange(w.handleExecutionUpdate)
	if eventType == event.TypeResourceDelete {
		handle = w.handleChange(w.handleExecutionDelete)
	}
	return handle(ctx, event.New(ctx, eventType, "https://10.96.0.1:443", "", o.Object))
}

// told is what a task was told of resources, in order.
func told(t *testing.T, f *fixture, task uuid.UUID) []api.ResourceChange {
	t.Helper()
	rows, err := f.pool.Query(t.Context(), `SELECT content FROM codex_task_events WHERE task_id = $1 AND event_type = 'resource' ORDER BY sequence`, task)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var changes []api.ResourceChange
	for rows.Next() {
		var content []byte
		if err := rows.Scan(&content); err != nil {
			t.Fatal(err)
		}
		var change api.ResourceChange
		decoder := json.NewDecoder(bytes.NewReader(content))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&change); err != nil || !change.Change.Valid() {
			t.Fatalf("%v: %s", err, content)
		}
		if bytes.Contains(content, []byte("hunter2")) {
			t.Errorf("a task is told a value of the spec: %s", content)
		}
		changes = append(changes, change)
	}
	return changes
}

// texts are the changes in short.
func texts(changes []api.ResourceChange) []string {
	short := []string{}
	for _, c := range changes {
		text := string(c.Change) + " " + c.Kind + ": " + c.Message
		if c.Ready {
			text += "ready"
		}
		short = append(short, text)
	}
	return short
}

func check(t *testing.T, f *fixture, task uuid.UUID, want ...string) {
	t.Helper()
	if got := texts(told(t, f, task)); !slices.Equal(got, want) {
		t.Errorf("the task was told\n%q, not\n%q", got, want)
	}
}

func goldenObject(t testing.TB, name string) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "eventing", "testdata", "dev.knative.apiserver.resource."+name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Data map[string]any }
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: golden.Data}
}

// A task follows a Deployment from one change to the next; what comes twice, late or out of order says nothing.
func TestResourceChanges(t *testing.T) {
	t.Parallel()
	w := setupWatching(t)
	task := w.reader(t, w.shop())
	first := w.create(t, deploymentResource, "update.deployment")
	w.hears(t, event.TypeResourceAdd, first)
	w.hears(t, event.TypeResourceAdd, first)
	second := w.available(t, first, 3)
	w.hears(t, event.TypeResourceUpdate, second)
	w.hears(t, event.TypeResourceUpdate, first)
	w.hears(t, event.TypeResourceAdd, first)
	w.hears(t, event.TypeResourceDelete, second) // it is there
	want := []string{"added Deployment: 2 of 3 replicas are available", "changed Deployment: ready"}
	check(t, w.fixture, task.ID, want...)

	w.remove(t, second)
	for range 2 {
		w.hears(t, event.TypeResourceDelete, second)
	}
	w.hears(t, event.TypeResourceUpdate, second)
	want = append(want, "deleted Deployment: ")
	check(t, w.fixture, task.ID, want...)

	another := w.create(t, deploymentResource, "update.deployment")
	w.hears(t, event.TypeResourceUpdate, another) // that of its making was lost
	w.hears(t, event.TypeResourceDelete, second)
	want = append(want, "added Deployment: 2 of 3 replicas are available")
	check(t, w.fixture, task.ID, want...)

	changes := told(t, w.fixture, task.ID)
	if c := changes[0]; c.Name != "shop" || c.Namespace != w.server.Namespace || c.APIVersion != "apps/v1" || c.UID != string(first.GetUID()) {
		t.Errorf("told of %+v", c)
	}
	if last := tasktest.Get(t, w.pool, task.ID).LastEventSequence; last != int64(len(changes)) {
		t.Errorf("the last of %d events has number %d", len(changes), last)
	}
	if n := tasktest.Scan[int](t, w.pool, `SELECT count(*) FROM codex_task_memory_index WHERE task_id = $1 AND kind = 'event'`, task.ID); n != 0 {
		t.Errorf("%d of them are remembered", n)
	}
}

// Those who follow the task are woken.
func TestResourceChangesAreNotified(t *testing.T) {
	t.Parallel()
	w := setupWatching(t)
	task := w.reader(t, w.shop())
	follower, err := w.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Release()
	if _, err := follower.Exec(t.Context(), "LISTEN "+postgres.TaskChannel); err != nil {
		t.Fatal(err)
	}
	w.hears(t, event.TypeResourceAdd, w.create(t, deploymentResource, "update.deployment"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	n, err := follower.Conn().WaitForNotification(ctx)
	if err != nil || n.Payload != task.ID.String() {
		t.Errorf("notified of %v, %v", n, err)
	}
}

// What an event says is not believed.
func TestForgedResourceChanges(t *testing.T) {
	t.Parallel()
	w := setupWatching(t)
	task := w.reader(t, w.shop())
	live := w.create(t, deploymentResource, "update.deployment")
	forged := live.DeepCopy()
	for _, field := range []string{"availableReplicas", "updatedReplicas"} {
		if err := unstructured.SetNestedField(forged.Object, int64(3), "status", field); err != nil {
			t.Fatal(err)
		}
	}
	w.hears(t, event.TypeResourceUpdate, forged)
	check(t, w.fixture, task.ID, "changed Deployment: 2 of 3 replicas are available")
	w.hears(t, event.TypeResourceDelete, forged)
	check(t, w.fixture, task.ID, "changed Deployment: 2 of 3 replicas are available")
	odd := live.DeepCopy()
	odd.SetName("sh\x00op")
	w.hears(t, event.TypeResourceUpdate, odd)
	odd.SetName("shop")
	odd.SetAPIVersion("apps/v1beta1") // which is not served, and so would not be found
	w.hears(t, event.TypeResourceUpdate, odd)
	check(t, w.fixture, task.ID, "changed Deployment: 2 of 3 replicas are available")
}

// Those tasks are told that go on, and may read the resource.
func TestWhoIsToldOfResources(t *testing.T) {
	t.Parallel()
	w := setupWatching(t)
	live := w.create(t, deploymentResource, "update.deployment")
	edit := func(change func(*grant.Grant)) grant.Grant {
		g := w.shop()
		change(&g)
		return g
	}
	told1 := map[string]grant.Grant{
		"by name":              w.shop(),
		"by an action":         edit(func(g *grant.Grant) { g.Verbs, g.Checked = nil, []string{"get"} }),
		"another version":      edit(func(g *grant.Grant) { g.APIVersion = "apps/v1beta2" }),
		"all of the namespace": edit(func(g *grant.Grant) { g.Name = "" }),
		"all of the cluster":   edit(func(g *grant.Grant) { g.Name, g.Namespace = "", "" }),
		"by label":             edit(func(g *grant.Grant) { g.Name, g.LabelSelector = "", "app in (shop, web)" }),
	}
	not := map[string]grant.Grant{
		"another name":      edit(func(g *grant.Grant) { g.Name = "web" }),
		"another namespace": edit(func(g *grant.Grant) { g.Namespace = "other" }),
		"another group":     edit(func(g *grant.Grant) { g.APIVersion = "extensions/v1beta1" }),
		"another kind":      edit(func(g *grant.Grant) { g.Kind = "StatefulSet" }),
		"another label":     edit(func(g *grant.Grant) { g.Name, g.LabelSelector = "", "app=web" }),
		"may not get":       edit(func(g *grant.Grant) { g.Verbs = []string{"patch"} }),
		"may not list":      edit(func(g *grant.Grant) { g.Name, g.Verbs = "", []string{"get"} }),
		"nothing granted":   edit(func(g *grant.Grant) { g.Verbs = nil }),
	}
	want, tasks := map[string]int{}, map[string]uuid.UUID{}
	for name, g := range told1 {
		tasks[name], want[name] = w.reader(t, grant.Grant{Target: grant.Target{APIVersion: "v1", Kind: "ConfigMap"}}, g).ID, 1
	}
	for name, g := range not {
		tasks[name] = w.reader(t, g).ID
	}
	for _, status := range []string{"finalizing", "succeeded"} {
		tasks[status] = w.reader(t, w.shop()).ID
		tasktest.Exec(t, w.pool, `UPDATE codex_tasks SET status = 'finalizing' WHERE id = $1`, tasks[status])
	}
	want["finalizing"] = 1
	tasktest.Exec(t, w.pool, `UPDATE codex_tasks SET status = 'succeeded' WHERE id = $1`, tasks["succeeded"])
	tasks["queued"] = tasktest.Queued(t, w.pool, tasktest.Task{}).ID
	tasktest.Exec(t, w.pool, `UPDATE codex_tasks SET grants = (SELECT grants FROM codex_tasks WHERE id = $2) WHERE id = $1`, tasks["queued"], tasks["by name"])
	w.hears(t, event.TypeResourceUpdate, live)
	for name, task := range tasks {
		if got := len(told(t, w.fixture, task)); got != want[name] {
			t.Errorf("%s: told %d times, not %d", name, got, want[name])
		}
	}
}

// A task hears of so many changes and no more, and the last says so.
func TestTooManyResourceChanges(t *testing.T) {
	t.Parallel()
	w := setupWatching(t)
	task := w.reader(t, w.shop())
	w.config.MaxResourceEvents = 2
	live := w.create(t, deploymentResource, "update.deployment")
	w.hears(t, event.TypeResourceUpdate, live)
	for _, n := range []int64{1, 2, 3} {
		live = w.available(t, live, n)
		w.hears(t, event.TypeResourceUpdate, live)
	}
	changes := told(t, w.fixture, task.ID)
	if len(changes) != 2 || changes[0].Last || !changes[1].Last {
		t.Errorf("told %+v", changes)
	}
	w.config.MaxResourceEvents = 0
	task = w.reader(t, w.shop())
	w.hears(t, event.TypeResourceUpdate, live)
	check(t, w.fixture, task.ID)
}

// However many functions hear of changes at a time, nothing is told twice in a row, and the last is how it is.
func TestResourceChangesAtOnce(t *testing.T) {
	t.Parallel()
	w := setupWatching(t)
	task := w.reader(t, w.shop())
	live := w.create(t, deploymentResource, "update.deployment")
	var group sync.WaitGroup
	var mutex sync.Mutex
	var refused []*unstructured.Unstructured
	for _, n := range []int64{1, 2, 1, 2, 1, 3} {
		live = w.available(t, live, n)
		for range 3 {
			o := live.DeepCopy()
			group.Go(func() {
				if err := w.deliver(t.Context(), event.TypeResourceUpdate, o); err != nil {
					mutex.Lock()
					defer mutex.Unlock()
					refused = append(refused, o)
				}
			})
		}
	}
	group.Wait()
	for _, o := range refused { // the Broker delivers again
		w.hears(t, event.TypeResourceUpdate, o)
	}
	got := texts(told(t, w.fixture, task.ID))
	if len(got) == 0 || got[len(got)-1] != "changed Deployment: ready" || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("told %q", got)
	}
}

// What a task's Knative Service becomes is a Revision.
func TestRevisionsOfATasksService(t *testing.T) {
	t.Parallel()
	w := setupWatching(t)
	w.defineRevisions(t)
	service := grant.Grant{
		Target: grant.Target{APIVersion: "serving.knative.dev/v1", Kind: "Service", Namespace: w.server.Namespace, Name: "api"}, Verbs: []string{"get"},
	}
	other, core := service, service
	other.Name, core.APIVersion = "web", "v1"
	task, stranger, plain := w.reader(t, service), w.reader(t, other), w.reader(t, core)
	live := w.create(t, revisionResource, "add")
	forged := live.DeepCopy()
	forged.SetLabels(map[string]string{labelService: "web"})
	w.hears(t, event.TypeResourceUpdate, forged)
	w.hears(t, event.TypeResourceAdd, live)
	live.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}
	w.hears(t, event.TypeResourceUpdate, w.update(t, revisionResource, live))
	check(t, w.fixture, task.ID, "added Revision: Deploying", "changed Revision: ready")
	check(t, w.fixture, stranger.ID)
	check(t, w.fixture, plain.ID)
}

// defineRevisions has the API server serve Knative's kind, of which it keeps the fields that come.
func (w watching) defineRevisions(t *testing.T) {
	t.Helper()
	open := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "revisions.serving.knative.dev"},
		"spec": map[string]any{
			"group": "serving.knative.dev", "scope": "Namespaced",
			"names": map[string]any{"plural": "revisions", "singular": "revision", "kind": "Revision", "listKind": "RevisionList"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true, "subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{"spec": open, "status": open}}},
			}},
		},
	}}
	_, err := w.server.Dynamic.Resource(kubetest.Definitions).Create(t.Context(), definition, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		_, err := w.resources.Resolve(t.Context(), "serving.knative.dev/v1", "Revision")
		if err == nil {
			_, err = w.server.Dynamic.Resource(revisionResource).List(t.Context(), metav1.ListOptions{})
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Revisions are not served: %v", err)
		}
	}
}

// A task is told that its pod runs, once, and how an attempt failed that is made again.
func TestExecutionChanges(t *testing.T) {
	t.Parallel()
	for mode, running := range map[string]map[string]any{
		"direct": {"active": 1, "ready": 1},
		"argo":   {"phase": "Running", "conditions": []any{map[string]any{"type": "PodRunning", "status": "True"}}},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := setupWatching(t)
			task := tasktest.Running(t, w.pool, tasktest.Task{Mode: mode, MaxAttempts: 2})
			kind := kube.KindFor(mode)
			o := execution(task, kind)
			w.cluster.executions = []kube.Observation{observe(task, kube.PhaseActive)}
			w.hears(t, event.TypeResourceAdd, o)
			o.Object["status"] = running
			w.hears(t, event.TypeResourceUpdate, o) // which is forged: it does not run
			check(t, w.fixture, task.ID)
			w.cluster.executions[0].Running = true
			for range 2 {
				w.hears(t, event.TypeResourceUpdate, o)
			}
			check(t, w.fixture, task.ID, "changed "+kind+": its pod runs")
			failed := observe(task, kube.PhaseFailed)
			failed.Reason, failed.Message = "BackoffLimitExceeded", "token=hunter2 "+strings.Repeat("x", 2*maxNoteText)
			w.cluster.executions[0] = failed
			for range 2 {
				if err := w.Observe(t.Context(), task.ID, 1); err != nil {
					t.Fatal(err)
				}
			}
			changes := told(t, w.fixture, task.ID)
			if len(changes) != 2 || !changes[1].Failed || !strings.HasPrefix(changes[1].Message, "BackoffLimitExceeded: token=") ||
				changes[1].Kind != kind || changes[1].Name != kube.JobName(task.ID.String(), 1) {
				t.Errorf("told %+v", changes)
			}
			w.hears(t, event.TypeResourceUpdate, o) // late
			if n := len(told(t, w.fixture, task.ID)); n != 2 || tasktest.Get(t, w.pool, task.ID).Status != "queued" {
				t.Errorf("told %d times", n)
			}
		})
	}
}

// execution is the Job or the Workflow of a task's present attempt.
func execution(task query.Task, kind string) *unstructured.Unstructured {
	version := "batch/v1"
	if kind == kube.KindWorkflow {
		version = "argoproj.io/v1alpha1"
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": version, "kind": kind,
		"metadata": map[string]any{
			"name": kube.JobName(task.ID.String(), int(task.Attempt)), "namespace": "graf",
			"labels": map[string]any{kube.LabelTaskID: task.ID.String(), kube.LabelAttempt: "1"},
		},
	}}
}

// FuzzWatched takes the data of any event for that of a resource: what is told of it has bounds, is storable and
// shows nothing of its spec.
func FuzzWatched(f *testing.F) {
	for _, name := range []string{"add", "update", "update.deployment", "delete", "delete.deployment"} {
		data, err := goldenObject(f, name).MarshalJSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o := watched(data)
		if o == nil {
			return
		}
		includes(grant.Target{APIVersion: "apps/v1", Kind: "Deployment", LabelSelector: "a=b"}, o)
		for _, eventType := range []string{event.TypeResourceAdd, event.TypeResourceUpdate, event.TypeResourceDelete} {
			n := noteOf(o, eventType)
			content, err := json.Marshal(n)
			if err != nil || len(n.Message) > maxNoteText+len(" …") || bytes.Contains(content, []byte(`\u0000`)) {
				t.Errorf("%v: %s", err, content)
			}
			var back note
			if err := json.Unmarshal(content, &back); err != nil || back.Ref != n.Ref || !back.repeats(n) && back.UID == n.UID {
				t.Errorf("%+v is read back as %+v: %v", n, back, err)
			}
		}
	})
}
