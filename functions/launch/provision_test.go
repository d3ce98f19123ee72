package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kubetest"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/snapshot"
	"github.com/graf-run/graf/shared/tasktest"
)

// acting is a launcher whose tasks may act on a real API server.
type acting struct {
	*fixture
	server *kubetest.Cluster
	admin  *kube.Client
}

func setupActing(t testing.TB) acting {
	t.Helper()
	a := acting{fixture: setup(t, limiter.SlotsConfig{}), server: kubetest.Open(t)}
	a.admin = a.server.Client(t)
	a.resources, a.execution.Namespace = a.admin, a.server.Namespace
	return a
}

func (a acting) ref(name string) manifest.Ref {
	return manifest.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: a.server.Namespace, Name: name}
}

func (a acting) content(name, value string) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"namespace": a.server.Namespace, "name": name},
		"data": map[string]any{"key": value},
	}
}

// apply applies a ConfigMap as somebody.
func (a acting) apply(t testing.TB, name, value, manager string) {
	t.Helper()
	if _, err := a.admin.Apply(t.Context(), a.content(name, value), kube.ApplyOptions{FieldManager: manager, Force: true}); err != nil {
		t.Fatal(err)
	}
}

// value is what a ConfigMap has, "" if it is not there.
func (a acting) value(t *testing.T, name string) string {
	t.Helper()
	live, err := a.admin.Live(t.Context(), a.ref(name))
	if err != nil {
		t.Fatal(err)
	}
	if live == nil || live.GetDeletionTimestamp() != nil {
		return ""
	}
	text, _, _ := unstructured.NestedString(live.Object, "data", "key")
	return text
}

// granted makes a queued task that may do that much with ConfigMaps.
func (a acting) granted(t testing.TB, verbs []string, names ...string) query.Task {
	t.Helper()
	task := tasktest.Queued(t, a.pool, tasktest.Task{})
	var grants []grant.Grant
	for _, name := range names {
		ref := a.ref(name)
		grants = append(grants, grant.Grant{
			Target: grant.Target{APIVersion: ref.APIVersion, Kind: ref.Kind, Namespace: ref.Namespace, Name: name}, Verbs: verbs,
		})
	}
	encoded, err := json.Marshal(grants)
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Exec(t, a.pool, `UPDATE codex_tasks SET grants = $2 WHERE id = $1`, task.ID, encoded)
	return tasktest.Get(t, a.pool, task.ID)
}

func (a acting) applied(t *testing.T, task query.Task, manifests ...map[string]any) {
	t.Helper()
	encoded, err := json.Marshal(manifests)
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Exec(t, a.pool, `INSERT INTO codex_task_manifests (task_id, manifests) VALUES ($1, $2)`, task.ID, encoded)
}

var everything = []string{"get", "create", "patch", "update", "delete"}

// The container gets an identity of its own, the state before is read, and the manifests are applied: once.
func TestProvision(t *testing.T) {
	t.Parallel()
	a := setupActing(t)
	a.apply(t, "old", "1", "somebody")
	task := a.granted(t, everything, "old", "new", "absent")
	a.applied(t, task, a.content("new", "2"))
	for range 2 { // the event comes twice
		if err := a.Enqueue(t.Context(), task.ID); err != nil {
			t.Fatal(err)
		}
	}
	name := kube.JobName(task.ID.String(), 1)
	specs := a.cluster.specs()
	if len(specs) != 1 || specs[0].ServiceAccount != name {
		t.Fatalf("launched as %q, want %q once", specs[0].ServiceAccount, name)
	}
	if _, told := specs[0].Manifests["01-configmap-old.yaml"]; !told {
		t.Errorf("the container is not told of the state before: %v", specs[0].Manifests)
	}
	if got := a.value(t, "new"); got != "2" {
		t.Errorf("new is %q, want 2", got)
	}
	container, err := a.admin.As(a.server.Namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	change := a.content("old", "3")
	if err := onceGranted(t.Context(), func() error {
		_, err := container.Apply(t.Context(), change, kube.ApplyOptions{FieldManager: "agent", Force: true})
		return err
	}); err != nil {
		t.Errorf("the container may not do what was granted: %v", err)
	}
	if _, err := container.Apply(t.Context(), a.content("other", "3"), kube.ApplyOptions{FieldManager: "agent"}); !errors.Is(err, kube.ErrForbidden) {
		t.Errorf("the container may do what was not granted: %v", err)
	}
	before := tasktest.Scan[string](t, a.pool, `SELECT manifests::text || absent::text FROM codex_task_snapshots WHERE task_id = $1 AND live`, task.ID)
	if !strings.Contains(before, `"key":"1"`) || !strings.Contains(before, `"name": "absent"`) || !strings.Contains(before, `"name": "new"`) {
		t.Errorf("the state before is %s", before)
	}
	audited := tasktest.Scan[string](t, a.pool, `SELECT string_agg(verb || ' ' || (resource->>'name') || ' ' || outcome, ', ') FROM codex_task_actions WHERE task_id = $1`, task.ID)
	if audited != "apply new done" {
		t.Errorf("the audit has %q", audited)
	}
}

// What cannot be applied fails the task before anything was changed, and says why.
func TestProvisionThatCannot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(*testing.T, acting) query.Task
		reason  string
	}{
		"a conflict": {func(t *testing.T, a acting) query.Task {
			a.apply(t, "theirs", "1", "somebody")
			task := a.granted(t, everything, "mine", "theirs")
			a.applied(t, task, a.content("mine", "2"), a.content("theirs", "2"))
			return task
		}, ".data.key belongs to somebody"},
		"an unknown field": {func(t *testing.T, a acting) query.Task {
			task := a.granted(t, everything, "mine", "bad")
			bad := a.content("bad", "2")
			bad["spec"] = map[string]any{"replicas": 1}
			a.applied(t, task, a.content("mine", "2"), bad)
			return task
		}, "spec"},
		"cluster-scoped where namespaced is meant": {func(t *testing.T, a acting) query.Task {
			task := a.granted(t, everything, "mine")
			tasktest.Exec(t, a.pool, `UPDATE codex_tasks SET grants = jsonb_set(grants, '{0,namespace}', '""') WHERE id = $1`, task.ID)
			return task
		}, "namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := setupActing(t)
			task := c.prepare(t, a)
			if err := a.Enqueue(t.Context(), task.ID); err != nil {
				t.Fatal(err)
			}
			got := tasktest.Get(t, a.pool, task.ID)
			if got.Status != "failed" || !strings.Contains(orEmpty(got.FailureReason), c.reason) {
				t.Errorf("task is %s: %s", got.Status, orEmpty(got.FailureReason))
			}
			if len(a.cluster.specs()) > 0 || a.value(t, "mine") != "" {
				t.Error("something was done all the same")
			}
		})
	}
}

// What is applied has its numbers as they were sent, and what the cluster says of it is kept without secrets.
func TestAppliedAsSent(t *testing.T) {
	t.Parallel()
	a := setupActing(t)
	const token = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
	bad := a.content("mine", "2")
	bad["metadata"].(map[string]any)["labels"] = map[string]any{"owner": token + "!"}
	refused := a.granted(t, everything, "mine")
	a.applied(t, refused, bad)
	template := map[string]any{
		"apiVersion": "v1", "kind": "PodTemplate", "metadata": map[string]any{"namespace": a.server.Namespace, "name": "slow"},
		"template": map[string]any{"spec": map[string]any{
			"terminationGracePeriodSeconds": int64(9007199254740993), // which no float64 is
			"containers":                    []any{map[string]any{"name": "c", "image": "i"}},
		}},
	}
	taken := a.granted(t, everything, "slow")
	tasktest.Exec(t, a.pool, `UPDATE codex_tasks SET grants = jsonb_set(grants, '{0,kind}', '"PodTemplate"') WHERE id = $1`, taken.ID)
	a.applied(t, taken, template)
	for _, task := range []query.Task{refused, taken} {
		if err := a.Enqueue(t.Context(), task.ID); err != nil {
			t.Fatal(err)
		}
	}
	if got := tasktest.Get(t, a.pool, refused.ID); got.Status != "failed" || strings.Contains(orEmpty(got.FailureReason), token) {
		t.Errorf("task is %s: %s", got.Status, orEmpty(got.FailureReason))
	}
	ref := manifest.Ref{APIVersion: "v1", Kind: "PodTemplate", Namespace: a.server.Namespace, Name: "slow"}
	live, err := a.admin.Live(t.Context(), ref)
	if err != nil || live == nil {
		t.Fatalf("%s is %v: %v", ref, live, err)
	}
	if seconds, _, _ := unstructured.NestedInt64(live.Object, "template", "spec", "terminationGracePeriodSeconds"); seconds != 9007199254740993 {
		t.Errorf("applied with %d", seconds)
	}
}

// A namespace that is not there yet, and what is to be in it, may be applied together; so may a definition and a resource of
// its kind. The container has its rights there, too, and all of them are taken away in the end.
func TestProvisionOfWhatIsNotThereYet(t *testing.T) {
	t.Parallel()
	a := setupActing(t)
	name := a.server.NameNamespace(t)
	inside := a.content("inside", "1")
	inside["metadata"].(map[string]any)["namespace"] = name
	d := a.server.NameDefinition(t)
	task := a.granted(t, everything, "old", "inside", "made", "widgets", "widget")
	for path, value := range map[string]string{
		"{1,namespace}": name, "{2,namespace}": "", "{2,kind}": "Namespace", "{2,name}": name,
		"{3,namespace}": "", "{3,apiVersion}": "apiextensions.k8s.io/v1", "{3,kind}": "CustomResourceDefinition", "{3,name}": d.Name,
		"{4,namespace}": name, "{4,apiVersion}": d.APIVersion, "{4,kind}": d.Kind,
	} {
		tasktest.Exec(t, a.pool, `UPDATE codex_tasks SET grants = jsonb_set(grants, $2::text::text[], to_jsonb($3::text)) WHERE id = $1`,
			task.ID, path, value)
	}
	task = tasktest.Get(t, a.pool, task.ID)
	a.applied(t, task, inside, d.Manifest(true),
		map[string]any{
			"apiVersion": d.APIVersion, "kind": d.Kind, "metadata": map[string]any{"namespace": name, "name": "widget"},
			"spec": map[string]any{"size": "1"},
		},
		map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}})
	if err := a.Enqueue(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	if task = tasktest.Get(t, a.pool, task.ID); task.Status != "running" {
		t.Fatalf("task is %s: %s", task.Status, orEmpty(task.FailureReason))
	}
	before := tasktest.Scan[string](t, a.pool, `SELECT absent::text FROM codex_task_snapshots WHERE task_id = $1 AND live`, task.ID)
	for _, absent := range []string{"inside", "widget", name} {
		if !strings.Contains(before, `"name": "`+absent+`"`) {
			t.Errorf("%s is not absent before: %s", absent, before)
		}
	}
	container, err := a.admin.As(a.server.Namespace, kube.JobName(task.ID.String(), 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []manifest.Ref{
		{APIVersion: "v1", Kind: "ConfigMap", Namespace: name, Name: "inside"},
		{APIVersion: d.APIVersion, Kind: d.Kind, Namespace: name, Name: "widget"},
	} {
		var live *unstructured.Unstructured
		if err := onceGranted(t.Context(), func() (err error) {
			live, err = container.Live(t.Context(), ref)
			return err
		}); err != nil || live == nil {
			t.Errorf("the container reads %s as %v: %v", ref, live, err)
		}
	}
	a.revoke(t.Context(), task)
	roles := schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}
	if left, err := a.server.Dynamic.Resource(roles).Namespace(name).List(t.Context(), metav1.ListOptions{}); err != nil || len(left.Items) > 0 {
		t.Errorf("%d roles are left: %v", len(left.Items), err)
	}
}

// Two launches of an attempt may run at a time, and one may be carried on once the agent runs: the manifests are applied by
// one of them, and the agent starts after that.
func TestManifestsAreAppliedOnce(t *testing.T) {
	t.Parallel()
	a := setupActing(t)
	task := a.granted(t, everything, "new")
	a.applied(t, task, a.content("new", "2"))
	q := query.New(a.pool)
	until, err := q.BeginApplying(t.Context(), time.Minute, task.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Enqueue(t.Context(), task.ID); err != nil { // while another applies
		t.Fatal(err)
	}
	if got := tasktest.Get(t, a.pool, task.ID); got.Status != "launching" || len(a.cluster.specs()) > 0 || a.value(t, "new") != "" {
		t.Fatalf("task is %s with %d executions, new is %q", got.Status, len(a.cluster.specs()), a.value(t, "new"))
	}
	if err := q.EndApplying(t.Context(), false, task.ID, &until); err != nil { // which failed
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if err := a.Enqueue(t.Context(), task.ID); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := tasktest.Get(t, a.pool, task.ID); got.Status != "running" || a.value(t, "new") != "2" {
		t.Fatalf("task is %s, new is %q", got.Status, a.value(t, "new"))
	}
	a.apply(t, "new", "3", "agent")
	late := task
	late.Status, late.Attempt = "launching", 1
	if _, err := a.provision(t.Context(), late); err != nil {
		t.Error(err)
	}
	if got := a.value(t, "new"); got != "3" {
		t.Errorf("new is %q: applied again over what the agent did", got)
	}
	audited := tasktest.Scan[int](t, a.pool, `SELECT count(*) FROM codex_task_actions WHERE task_id = $1`, task.ID)
	if audited != 1 {
		t.Errorf("%d entries in the audit, want 1", audited)
	}
}

// A namespace that nothing makes fails the task.
func TestProvisionWithoutNamespace(t *testing.T) {
	t.Parallel()
	a := setupActing(t)
	task := a.granted(t, everything, "mine")
	tasktest.Exec(t, a.pool, `UPDATE codex_tasks SET grants = jsonb_set(grants, '{0,namespace}', '"graf-none"') WHERE id = $1`, task.ID)
	if err := a.Enqueue(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	if got := tasktest.Get(t, a.pool, task.ID); got.Status != "failed" || !strings.Contains(orEmpty(got.FailureReason), "graf-none") {
		t.Errorf("task is %s: %s", got.Status, orEmpty(got.FailureReason))
	}
}

// undoing stores what a task changed and asks for it to be taken back.
func (a acting) undoing(t *testing.T, task query.Task, before, after []map[string]any, dry bool) api.Undo {
	t.Helper()
	for kind, contents := range map[string][]map[string]any{snapshot.Before: before, snapshot.After: after} {
		var state kube.Snapshot
		for _, content := range contents {
			object, err := manifest.New(content, task.ManifestSalt)
			if err != nil {
				t.Fatal(err)
			}
			state.Objects = append(state.Objects, object)
		}
		if err := snapshot.Store(t.Context(), query.New(a.pool), task.ID, kind, 1, state); err != nil {
			t.Fatal(err)
		}
	}
	return a.undo(t, task, dry)
}

func (a acting) undo(t *testing.T, task query.Task, dry bool) api.Undo {
	t.Helper()
	q := query.New(a.pool)
	undo, err := q.InsertUndo(t.Context(), query.InsertUndoParams{ID: uuid.New(), TaskID: task.ID, RequestedBy: "ops", DryRun: dry})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Undo(t.Context(), task, undo); err != nil {
		t.Error(err)
	}
	if undo, err = q.GetUndo(t.Context(), undo.ID); err != nil {
		t.Fatal(err)
	}
	result := api.Undo{Status: api.UndoStatus(undo.Status)}
	if err := json.Unmarshal(undo.Result, &result); err != nil {
		t.Fatal(err)
	}
	return result
}

func TestUndo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dry     bool
		since   func(*testing.T, acting)
		status  api.UndoStatus
		shown   string
		values  string // of changed, made and removed
		audited int
	}{
		"taken back":         {status: api.UndoStatusDone, shown: "changed restored, made deleted, removed created", values: "1  1", audited: 3},
		"shown":              {dry: true, status: api.UndoStatusDone, shown: "changed restored, made deleted, removed created", values: "2 2 "},
		"another's change":   {since: func(t *testing.T, a acting) { a.apply(t, "changed", "3", "somebody") }, status: api.UndoStatusRefused, shown: "changed restored data.key, made deleted, removed created", values: "3 2 "},
		"taken back already": {since: func(t *testing.T, a acting) { a.apply(t, "changed", "1", "somebody") }, status: api.UndoStatusDone, shown: "changed unchanged, made deleted, removed created", values: "1  1", audited: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := setupActing(t)
			task := a.granted(t, everything, "changed", "made", "removed")
			a.apply(t, "changed", "2", "agent")
			a.apply(t, "made", "2", "agent")
			if c.since != nil {
				c.since(t, a)
			}
			got := a.undoing(t, task, []map[string]any{a.content("changed", "1"), a.content("removed", "1")},
				[]map[string]any{a.content("changed", "2"), a.content("made", "2")}, c.dry)
			var shown []string
			for _, r := range got.Resources {
				shown = append(shown, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Resource.Name, r.Operation, strings.Join(r.Conflicts, " "))))
			}
			if got.Status != c.status || strings.Join(shown, ", ") != c.shown {
				t.Errorf("undo is %s: %v: %s", got.Status, shown, got.Reason)
			}
			values := a.value(t, "changed") + " " + a.value(t, "made") + " " + a.value(t, "removed")
			if values != c.values {
				t.Errorf("the resources have %q, want %q", values, c.values)
			}
			if n := tasktest.Scan[int](t, a.pool, `SELECT count(*) FROM codex_task_actions WHERE task_id = $1 AND verb = 'undo'`, task.ID); n != c.audited {
				t.Errorf("%d entries in the audit, want %d", n, c.audited)
			}
			left, err := a.server.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}).
				Namespace(a.server.Namespace).List(t.Context(), metav1.ListOptions{})
			if err != nil || len(left.Items) > 0 {
				t.Errorf("%d identities are left: %v", len(left.Items), err)
			}
		})
	}
}

// Two may ask at a time, and finalize's sweep takes the rights of ended attempts away meanwhile: all the same each request
// is carried out.
func TestUndoAtATime(t *testing.T) {
	t.Parallel()
	a := setupActing(t)
	for round := range 3 {
		name := fmt.Sprintf("changed-%d", round)
		task := a.granted(t, everything, name)
		a.apply(t, name, "2", "agent")
		first := a.undoing(t, task, []map[string]any{a.content(name, "1")}, []map[string]any{a.content(name, "2")}, true)
		if first.Status != api.UndoStatusDone {
			t.Fatalf("the first is %s: %s", first.Status, first.Reason)
		}
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				if got := a.undo(t, task, i == 0); got.Status != api.UndoStatusDone {
					t.Errorf("undo %d is %s: %s", i, got.Status, got.Reason)
				}
			})
		}
		group.Go(func() {
			for range 5 {
				if err := a.resources.Revoke(t.Context(), task.ID.String(), int(task.Attempt), a.server.Namespace, []string{a.server.Namespace}); err != nil {
					t.Error(err)
				}
			}
		})
		group.Wait()
		if got := a.value(t, name); got != "1" {
			t.Errorf("the resource has %q, want 1", got)
		}
	}
}

// A launch that fails leaves no rights behind.
func TestFailedLaunchLeavesNoRights(t *testing.T) {
	t.Parallel()
	a := setupActing(t)
	a.apply(t, "theirs", "1", "somebody")
	task := a.granted(t, everything, "theirs")
	a.applied(t, task, a.content("theirs", "2"))
	if err := a.Enqueue(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	if got := tasktest.Get(t, a.pool, task.ID); got.Status != "failed" {
		t.Fatalf("is %s", got.Status)
	}
	for _, resource := range []schema.GroupVersionResource{
		{Version: "v1", Resource: "serviceaccounts"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	} {
		left, err := a.server.Dynamic.Resource(resource).Namespace(a.server.Namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(left.Items) > 0 {
			t.Errorf("%d %s are left: %v", len(left.Items), resource.Resource, err)
		}
	}
}

// A container whose task is cancelled has no rights while it takes its time to end; Graf still has those to see what it did.
func TestCancelTakesTheContainersRights(t *testing.T) {
	t.Parallel()
	a := setupActing(t)
	task := a.granted(t, everything, "mine")
	if err := a.Enqueue(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	tasktest.Exec(t, a.pool, `UPDATE codex_tasks SET cancel_requested_at = now(), cancel_requested_by = 'ops' WHERE id = $1`, task.ID)
	for range 2 { // the event comes twice
		if err := a.Cancel(t.Context(), task.ID); err != nil {
			t.Fatal(err)
		}
	}
	left, err := a.server.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}).
		Namespace(a.server.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: kube.LabelTaskID + "=" + task.ID.String()})
	if err != nil || len(left.Items) != 1 || left.Items[0].GetName() != kube.JobName(task.ID.String(), 1)+kube.ActionsSuffix {
		t.Errorf("%d accounts are left: %v", len(left.Items), err)
	}
	if len(a.cluster.deleted) != 2 {
		t.Errorf("deleted %v", a.cluster.deleted)
	}
}

// The state before is what was read first, also where two launches read it at a time: the second may see what the first
// has applied.
func TestStateBeforeIsStoredOnce(t *testing.T) {
	t.Parallel()
	a := setupActing(t)
	task := a.granted(t, everything, "changed")
	store := func(q *query.Queries, value string) error {
		object, err := manifest.New(a.content("changed", value), task.ManifestSalt)
		if err != nil {
			return err
		}
		return snapshot.Store(t.Context(), q, task.ID, snapshot.Before, 0, kube.Snapshot{Objects: []manifest.Object{object}})
	}
	second := make(chan error)
	err := pgx.BeginFunc(t.Context(), a.pool, func(tx pgx.Tx) error {
		if err := store(query.New(tx), "first"); err != nil {
			return err
		}
		go func() { second <- store(query.New(a.pool), "second") }()
		time.Sleep(200 * time.Millisecond)
		return nil
	})
	if err := errors.Join(err, <-second); err != nil {
		t.Fatal(err)
	}
	kept := tasktest.Scan[string](t, a.pool, `SELECT string_agg(manifests::text, ' ') FROM codex_task_snapshots WHERE task_id = $1 AND live`, task.ID)
	if !strings.Contains(kept, "first") || strings.Contains(kept, "second") {
		t.Errorf("kept is %s", kept)
	}
}
