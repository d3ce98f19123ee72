//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/kubetest"
)

// What tasks change, and what gives them the rights to.
var (
	configMaps      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	deployments     = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	roles           = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}
	roleBindings    = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}
)

// arena is a namespace in which tasks of project e2e may act, by the policy of
// overlay e2e. It has what its tasks change: Deployment web, ConfigMap settings and
// Widget gear; and ConfigMap closed, which they may not.
type arena struct {
	*system
	namespace string
	widgets   kubetest.Definition
}

func newArena(t *testing.T) *arena {
	t.Helper()
	s := newSystem(t)
	a := &arena{system: s, namespace: tests + "-" + s.run}
	a.create(t, namespaces, object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": a.namespace}})
	a.widgets = (&kubetest.Cluster{Dynamic: s.cluster}).Define(t, true)
	a.giveRights(t)
	labels := object{"app": "web"}
	a.create(t, deployments, a.object("apps/v1", "Deployment", "web", "spec", object{
		"replicas": int64(1), "selector": object{"matchLabels": labels},
		"template": object{"metadata": object{"labels": labels}, "spec": object{
			"automountServiceAccountToken": false, "terminationGracePeriodSeconds": int64(1),
			"containers": []any{object{"name": "web", "image": image(t), "command": []any{"/app", "hang"}}},
		}},
	}))
	a.create(t, configMaps, a.object("v1", "ConfigMap", "settings", "data", object{"requests": "100"}))
	a.create(t, configMaps, a.object("v1", "ConfigMap", "closed", "data", object{"requests": "100"}))
	a.create(t, a.widgets.Resource, a.object(a.widgets.APIVersion, a.widgets.Kind, "gear", "spec", object{"teeth": int64(8)}))
	eventually(t, "the Deployment's pod runs", func() bool {
		available, _, _ := nested(a.live(t, deployments, "web"), "status", "availableReplicas")
		return available == "1"
	})
	return a
}

// object is one in the arena, of which field has this content.
func (a *arena) object(apiVersion, kind, name, field string, content object) object {
	return object{
		"apiVersion": apiVersion, "kind": kind, "metadata": object{"name": name, "namespace": a.namespace}, field: content,
	}
}

// giveRights lets launch, and the worker, give rights in the arena, by the component
// that is made for that, and besides those to the custom resource.
func (a *arena) giveRights(t *testing.T) {
	t.Helper()
	a.createAll(t, "../deploy/components/kubernetes-manager-namespaced/manager.yaml")
	role := a.object(roles.GroupVersion().String(), "Role", "widgets", "rules", nil)
	role["rules"] = []any{object{
		"apiGroups": []any{a.widgets.Resource.Group}, "resources": []any{a.widgets.Resource.Resource},
		"verbs": []any{"get", "create", "update", "patch"},
	}}
	a.create(t, roles, role)
	binding := a.object(roles.GroupVersion().String(), "RoleBinding", "widgets", "roleRef", object{
		"apiGroup": roles.Group, "kind": "Role", "name": "widgets",
	})
	binding["subjects"] = []any{
		object{"kind": "ServiceAccount", "name": "graf-launch", "namespace": graf},
		object{"kind": "ServiceAccount", "name": "graf-worker", "namespace": graf},
	}
	a.create(t, roleBindings, binding)
}

// createAll makes the objects of a file that is made for namespace workloads, in the arena.
func (a *arena) createAll(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(bytes.ReplaceAll(text, []byte("namespace: workloads"), []byte("namespace: "+a.namespace))), 1<<10)
	for {
		var o unstructured.Unstructured
		if err := documents.Decode(&o.Object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		resource := roles
		if o.GetKind() == "RoleBinding" {
			resource = roleBindings
		}
		a.create(t, resource, o.Object)
	}
}

// live is an object of the arena as it is now.
func (a *arena) live(t *testing.T, resource schema.GroupVersionResource, name string) object {
	t.Helper()
	o, err := a.cluster.Resource(resource).Namespace(a.namespace).Get(within(t), name, metav1.GetOptions{})
	must(t, err)
	return o.Object
}

// checkLive fails unless the three resources have these values.
func (a *arena) checkLive(t *testing.T, replicas, requests, teeth string) {
	t.Helper()
	r, _, _ := nested(a.live(t, deployments, "web"), "spec", "replicas")
	q, _, _ := nested(a.live(t, configMaps, "settings"), "data", "requests")
	n, _, _ := nested(a.live(t, a.widgets.Resource, "gear"), "spec", "teeth")
	if r != replicas || q != requests || n != teeth {
		t.Errorf("there are %s replicas, %s requests and %s teeth, not %s, %s and %s", r, q, n, replicas, requests, teeth)
	}
}

func (a *arena) configMap(name string) api.ResourceReference {
	return api.ResourceReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: a.namespace, Name: name}
}

// targets are the three resources.
func (a *arena) targets() []api.ResourceReference {
	return []api.ResourceReference{
		{APIVersion: "apps/v1", Kind: "Deployment", Namespace: a.namespace, Name: "web"},
		a.configMap("settings"),
		{APIVersion: a.widgets.APIVersion, Kind: a.widgets.Kind, Namespace: a.namespace, Name: "gear"},
	}
}

// step is one that the tests' agent takes: see cmd/e2e-agent/act.go.
type step struct {
	Name string          `json:"name"`
	Gate string          `json:"gate,omitempty"`
	Path string          `json:"path,omitempty"`
	Body json.RawMessage `json:"body,omitempty"`
}

// patch has the agent change an object by itself.
func (a *arena) patch(name, prefix, resource, body string) step {
	return step{Name: name, Path: prefix + "/namespaces/" + a.namespace + "/" + resource, Body: json.RawMessage(body)}
}

// action has the agent ask for one.
func action(t *testing.T, name string, request api.ActionRequest) step {
	t.Helper()
	body, err := json.Marshal(request)
	must(t, err)
	return step{Name: name, Body: body}
}

// acting is a submission to project e2e whose agent takes the steps.
func (a *arena) acting(t *testing.T, targets []api.ResourceReference, steps ...step) api.TaskSubmission {
	t.Helper()
	encoded, err := json.Marshal(steps)
	must(t, err)
	submission := a.mode(t, "act")
	submission.Agent.Env = map[string]string{"STEPS": string(encoded)}
	submission.Project, submission.TargetResources = "e2e", targets
	return submission
}

// changes are the steps that change all three resources.
func (a *arena) changes() []step {
	group := "/apis/" + a.widgets.APIVersion
	return []step{
		a.patch("web", "/apis/apps/v1", "deployments/web", `{"spec":{"replicas":2}}`),
		a.patch("settings", "/api/v1", "configmaps/settings", `{"data":{"requests":"200"}}`),
		a.patch("gear", group, "widgets/gear", `{"spec":{"teeth":12}}`),
	}
}

// answer is what the agent reported of a step.
type answer struct {
	Name   string `json:"name"`
	Status int    `json:"status"`
	Answer string `json:"answer"`
}

// answers are those of a task's agent by the steps' names.
func (a *arena) answers(t *testing.T, id uuid.UUID) map[string]answer {
	t.Helper()
	var page api.EventPage
	must(t, a.call(t, http.MethodGet, a.urls["callback"]+"/v1/codex/tasks/"+id.String()+"/events?limit=100", nil, &page))
	found := map[string]answer{}
	for _, e := range page.Events {
		if e.EventType != api.EventTypeProgress {
			continue
		}
		var one answer
		must(t, json.Unmarshal(e.Content, &one))
		found[one.Name] = one
	}
	return found
}

// result is what became of the one action of a step.
func (a answer) result(t *testing.T) api.ActionResult {
	t.Helper()
	var results api.ActionResults
	if err := json.Unmarshal([]byte(a.Answer), &results); err != nil || a.Status != http.StatusOK || len(results.Results) != 1 {
		t.Fatalf("step %q was answered %d: %s", a.Name, a.Status, a.Answer)
	}
	return results.Results[0]
}

// identities are the accounts, roles and bindings that there are for a task.
func (a *arena) identities(t *testing.T, id uuid.UUID) []string {
	t.Helper()
	var names []string
	for resource, namespace := range map[schema.GroupVersionResource]string{
		serviceAccounts: graf, roles: a.namespace, roleBindings: a.namespace,
	} {
		list, err := a.cluster.Resource(resource).Namespace(namespace).List(within(t), metav1.ListOptions{
			LabelSelector: "graf.dev/task-id=" + id.String(),
		})
		must(t, err)
		for _, item := range list.Items {
			names = append(names, resource.Resource+" "+item.GetName())
		}
	}
	return names
}

// awaitNoIdentities waits until nothing of a task's rights is left.
func (a *arena) awaitNoIdentities(t *testing.T, id uuid.UUID) {
	t.Helper()
	eventually(t, "the task's rights are taken away", func() bool { return len(a.identities(t, id)) == 0 })
}

// TestKubernetesChanges has a container change three resources with the rights of its
// own account, and try what it may not: launched and ended by functions, and by the
// worker of Temporal, which has rights of its own.
func TestKubernetesChanges(t *testing.T) {
	for _, mode := range []api.OrchestrationMode{api.OrchestrationModeDirect, api.OrchestrationModeTemporal} {
		t.Run(string(mode), func(t *testing.T) { testKubernetesChanges(t, mode) })
	}
}

func testKubernetesChanges(t *testing.T, mode api.OrchestrationMode) {
	a := newArena(t)
	gates := a.newGates(t)
	steps := append(a.changes(),
		a.patch("closed to the container", "/api/v1", "configmaps/closed", `{"data":{"requests":"200"}}`),
		action(t, "closed to an action", api.ActionRequest{Action: api.ActionVerbApply, Manifests: []api.Manifest{
			manifestOf(t, a.object("v1", "ConfigMap", "closed", "data", object{"requests": "200"})),
		}}),
		step{Name: "gate", Gate: gates.at("go")})
	submission := a.acting(t, a.targets(), steps...)
	submission.OrchestrationMode = mode
	created := a.submit(t, submission)
	a.awaitPod(t, created.TaskID)
	// Two accounts, the container's and that of its actions, with a Role and a binding each.
	if got := a.identities(t, created.TaskID); len(got) != 6 {
		t.Errorf("the running task has %q", got)
	}
	gates.unlock("go")
	task := a.awaitStatus(t, created.TaskID, api.TaskStatusSucceeded)

	answers := a.answers(t, task.TaskID)
	for name, status := range map[string]int{"web": 200, "settings": 200, "gear": 200, "closed to the container": 403} {
		if got := answers[name]; got.Status != status {
			t.Errorf("%s was answered %d, not %d: %s", name, got.Status, status, got.Answer)
		}
	}
	refused := answers["closed to an action"].result(t)
	if refused.Outcome != api.ActionOutcomeRefused || refused.Decision.Rule != "e2e/resources/0" ||
		!strings.Contains(refused.Error, "denies get ConfigMap") {
		t.Errorf("the action on what is closed: %+v", refused)
	}
	if requests, _, _ := nested(a.live(t, configMaps, "closed"), "data", "requests"); requests != "100" {
		t.Errorf("what is closed has %s requests", requests)
	}
	a.checkLive(t, "2", "200", "12")
	checkDifference(t, task, `-  requests: "100"`, `+  requests: "200"`, "-  replicas: 1", "+  replicas: 2", "-  teeth: 8", "+  teeth: 12")
	a.checkSnapshots(t, task.TaskID)
	a.awaitNoIdentities(t, task.TaskID)
	a.checkNothingLeft(t)
}

func manifestOf(t *testing.T, o object) api.Manifest {
	t.Helper()
	encoded, err := json.Marshal(o)
	must(t, err)
	return encoded
}

// checkDifference fails unless exactly these lines differ.
func checkDifference(t *testing.T, task api.Task, want ...string) {
	t.Helper()
	if task.Diff == nil {
		t.Fatalf("task %s has no diff", task.TaskID)
	}
	var got []string
	for line := range strings.Lines(task.Diff.Unified) {
		changed := strings.HasPrefix(line, "+") || strings.HasPrefix(line, "-")
		if changed && !strings.HasPrefix(line, "+++") && !strings.HasPrefix(line, "---") {
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the diff is not %q:\n%s", want, task.Diff.Unified)
	}
}

// checkSnapshots fails unless Graf itself read the three resources before the task and after.
func (a *arena) checkSnapshots(t *testing.T, id uuid.UUID) {
	t.Helper()
	for _, kind := range []string{"before", "after"} {
		var read int
		must(t, a.pool.QueryRow(within(t), `SELECT coalesce(sum(json_array_length(manifests)), 0) FROM codex_task_snapshots
WHERE task_id = $1 AND type = $2 AND live`, id, kind).Scan(&read))
		if read != 3 {
			t.Errorf("%d of 3 resources were read %s the task", read, kind)
		}
	}
}

// decide decides about an approval as a caller, and gives the answer's status.
func (a *arena) decide(t *testing.T, approval api.Approval, caller string, verdict api.ApprovalVerdict) int {
	t.Helper()
	url := a.urls["submit"] + "/v1/codex/tasks/" + approval.TaskID.String() + "/approvals/" + approval.ApprovalID.String()
	response, err := a.request(within(t), http.MethodPost, url, a.tokens[caller], api.ApprovalDecision{Decision: verdict})
	must(t, err)
	must(t, response.Body.Close())
	return response.StatusCode
}

// approve has caller lead approve what the task's own caller may not.
func (a *arena) approve(t *testing.T, approval api.Approval) {
	t.Helper()
	if status := a.decide(t, approval, "local", api.ApprovalVerdictApproved); status != http.StatusForbidden {
		t.Errorf("the task's own caller approves: %d", status)
	}
	if status := a.decide(t, approval, "lead", api.ApprovalVerdictApproved); status != http.StatusOK {
		t.Fatalf("caller lead cannot approve: %d", status)
	}
}

// TestKubernetesApproval holds a task up until somebody else approves it, and then an
// action of its agent.
func TestKubernetesApproval(t *testing.T) {
	a := newArena(t)
	gates := a.newGates(t)
	target := a.configMap("settings")
	remove := api.ActionRequest{Action: api.ActionVerbDelete, Resources: []api.ResourceReference{target}}
	submission := a.acting(t, []api.ResourceReference{target},
		action(t, "first", remove), step{Name: "gate", Gate: gates.at("go")}, action(t, "again", remove))
	submission.Tags = []string{"careful"}
	created := a.submit(t, submission)
	if created.Status != api.TaskStatusAwaitingApproval {
		t.Fatalf("the task is %s", created.Status)
	}
	task := a.awaitStatus(t, created.TaskID, api.TaskStatusAwaitingApproval)
	if len(task.Approvals) != 1 || task.Approvals[0].Rule != "e2e/executions/0" {
		t.Fatalf("approvals: %+v", task.Approvals)
	}
	a.approve(t, task.Approvals[0])

	task = a.await(t, created.TaskID, "waits for approval of its action", func(task api.Task) bool {
		return len(task.Approvals) == 2 || task.FinishedAt != nil
	})
	if len(task.Approvals) != 2 {
		t.Fatalf("the task is %s, with approvals %+v: %+v", task.Status, task.Approvals, task.Failure)
	}
	a.live(t, configMaps, target.Name)
	a.approve(t, task.Approvals[1])
	gates.unlock("go")
	task = a.awaitStatus(t, created.TaskID, api.TaskStatusSucceeded)
	answers := a.answers(t, task.TaskID)
	first, again := answers["first"].result(t), answers["again"].result(t)
	if first.Outcome != api.ActionOutcomeAwaitingApproval || first.ApprovalID == nil ||
		*first.ApprovalID != task.Approvals[1].ApprovalID {
		t.Errorf("at first: %+v", first)
	}
	if again.Outcome != api.ActionOutcomeDone || !again.Decision.Allowed {
		t.Errorf("after the approval: %+v", again)
	}
	a.awaitGone(t, target.Name)
	a.awaitNoIdentities(t, task.TaskID)
	a.checkNothingLeft(t)
}

// awaitGone waits until there is no such ConfigMap.
func (a *arena) awaitGone(t *testing.T, name string) {
	t.Helper()
	eventually(t, "ConfigMap "+name+" is gone", func() bool {
		list, err := a.cluster.Resource(configMaps).Namespace(a.namespace).List(within(t), metav1.ListOptions{
			FieldSelector: "metadata.name=" + name,
		})
		return err == nil && len(list.Items) == 0
	})
}

// undo takes a task back, or shows what that would be.
func (a *arena) undo(t *testing.T, id uuid.UUID, dry bool) api.Undo {
	t.Helper()
	var undo api.Undo
	url := a.urls["submit"] + "/v1/codex/tasks/" + id.String() + "/undo"
	must(t, a.call(t, http.MethodPost, url, api.UndoRequest{DryRun: dry}, &undo))
	if undo.Status != api.UndoStatusRequested {
		return undo
	}
	// launch took longer than a request waits, as it had no pod.
	a.await(t, id, "is undone", func(task api.Task) bool {
		undo = task.Undos[len(task.Undos)-1]
		return undo.Status != api.UndoStatusRequested
	})
	return undo
}

// checkUndo fails unless it ended like this, with the three resources restored if it is done.
func checkUndo(t *testing.T, undo api.Undo, status api.UndoStatus) {
	t.Helper()
	if undo.Status != status || len(undo.Resources) != 3 {
		t.Fatalf("the undo is not %s: %+v", status, undo)
	}
	for _, r := range undo.Resources {
		if status == api.UndoStatusDone && (r.Operation != api.UndoOperationRestored || r.Diff == "" || len(r.Conflicts) > 0) {
			t.Errorf("%s %s: %+v", r.Resource.Kind, r.Resource.Name, r)
		}
	}
}

// TestKubernetesUndo takes back what a task changed, but not over what somebody else
// changed since.
func TestKubernetesUndo(t *testing.T) {
	a := newArena(t)
	id := a.submit(t, a.acting(t, a.targets(), a.changes()...)).TaskID
	a.awaitStatus(t, id, api.TaskStatusSucceeded)
	a.checkLive(t, "2", "200", "12")

	checkUndo(t, a.undo(t, id, true), api.UndoStatusDone)
	a.checkLive(t, "2", "200", "12")

	a.set(t, "requests", "300")
	refused := a.undo(t, id, false)
	checkUndo(t, refused, api.UndoStatusRefused)
	for _, r := range refused.Resources {
		if r.Resource.Kind == "ConfigMap" && !slices.Equal(r.Conflicts, []string{"data.requests"}) ||
			r.Resource.Kind != "ConfigMap" && len(r.Conflicts) > 0 {
			t.Errorf("%s %s: conflicts %q", r.Resource.Kind, r.Resource.Name, r.Conflicts)
		}
	}
	a.checkLive(t, "2", "300", "12")

	a.set(t, "requests", "200")
	a.set(t, "other", "kept")
	checkUndo(t, a.undo(t, id, false), api.UndoStatusDone)
	a.checkLive(t, "1", "100", "8")
	if other, _, _ := nested(a.live(t, configMaps, "settings"), "data", "other"); other != "kept" {
		t.Errorf("what somebody else added is %s", other)
	}
	a.awaitNoIdentities(t, id)
	a.checkNothingLeft(t)
}

// set changes a value of ConfigMap settings, as somebody else does.
func (a *arena) set(t *testing.T, key, value string) {
	t.Helper()
	a.change(t, configMaps, a.namespace, "settings", func(o *unstructured.Unstructured) {
		must(t, unstructured.SetNestedField(o.Object, value, "data", key))
	})
}

// TestKubernetesApply applies manifests at submission, and takes them back.
func TestKubernetesApply(t *testing.T) {
	a := newArena(t)
	submission := a.working(t, "Run with what was applied.", "")
	submission.Project, submission.Apply = "e2e", true
	submission.Manifests = []api.Manifest{manifestOf(t, a.object("v1", "ConfigMap", "applied", "data", object{"size": "7"}))}
	id := a.submit(t, submission).TaskID
	task := a.awaitStatus(t, id, api.TaskStatusSucceeded)
	if size, _, _ := nested(a.live(t, configMaps, "applied"), "data", "size"); size != "7" {
		t.Errorf("the size is %s", size)
	}
	if task.Diff == nil || !strings.Contains(task.Diff.Summary, "ConfigMap "+a.namespace+"/applied created") {
		t.Errorf("diff: %+v", task.Diff)
	}
	undo := a.undo(t, id, false)
	if undo.Status != api.UndoStatusDone || len(undo.Resources) != 1 || undo.Resources[0].Operation != api.UndoOperationDeleted {
		t.Errorf("undo: %+v", undo)
	}
	a.awaitGone(t, "applied")
	a.awaitNoIdentities(t, id)
	a.checkNothingLeft(t)
}
