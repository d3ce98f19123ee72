package submit_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/manifest"
)

// careful is a submission to the project whose rules of testdata/policy.yaml are narrow.
func careful(fields string) string {
	return `{"prompt": "p", "project": "careful", "agent": {"command": ["true"], "limits": {"memory": "1Gi"}}` + fields + `}`
}

const (
	liveDeployment = `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "live", "name": "web"}, "spec": {"replicas": 3}}`
	shopConfigMap  = `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": "limits"}, "data": {"requests": "200"}}`
)

func TestPolicyRefuses(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for name, c := range map[string]struct {
		body     string
		pointers []string
		detail   string
	}{
		"no rule": {`{"prompt": "p", "project": "other", "agent": {"command": ["true"]}}`, []string{"/agent"},
			"no rule allows"},
		"image": {strings.Replace(careful(""), `"limits"`, `"image": "docker.io/library/x:latest", "limits"`, 1), []string{"/agent"},
			"careful/executions/0 denies"},
		"another image": {strings.Replace(careful(""), `"limits"`, `"image": "docker.io/library/x:1", "limits"`, 1), []string{"/agent"},
			"no rule allows"},
		"limit":   {strings.Replace(careful(""), "1Gi", "3Gi", 1), []string{"/agent"}, "allows at most 2Gi of memory"},
		"timeout": {careful(`, "timeoutSeconds": 7200`), []string{"/agent"}, "allows a timeout of at most 1h0m0s"},
		"manifests": {careful(`, "apply": true, "manifests": [` + shopConfigMap + `, ` +
			strings.ReplaceAll(liveDeployment, "live", "other") + `]`), []string{"/manifests/1"},
			"no rule allows create Deployment.apps other/web"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			p := problemOf(t, w.call(http.MethodPost, "/v1/codex/tasks", c.body, http.StatusForbidden, nil))
			detail := ""
			for _, e := range p.Errors {
				got, detail = append(got, e.Pointer), detail+e.Detail
			}
			if strings.Join(got, " ") != strings.Join(c.pointers, " ") || !strings.Contains(detail, c.detail) {
				t.Errorf("got %v, %s; want %v, %s", got, detail, c.pointers, c.detail)
			}
		})
	}
	if n := w.count("SELECT count(*) FROM codex_tasks"); n != 0 {
		t.Errorf("%d tasks were stored", n)
	}
}

func TestApplyBadInput(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for name, fields := range map[string]string{
		"nothing to apply": `, "apply": true`,
		"a Secret":         `, "apply": true, "manifests": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "s"}, "stringData": {"k": "hunter2"}}]`,
		"a secret value":   `, "apply": true, "manifests": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "DB_PASSWORD", "value": "hunter2"}]}]}}]`,
		"no kind":          `, "apply": true, "manifests": [{"apiVersion": "v1", "metadata": {"name": "s"}}]`,
	} {
		t.Run(name, func(t *testing.T) {
			problemOf(t, w.call(http.MethodPost, "/v1/codex/tasks", careful(fields), http.StatusUnprocessableEntity, nil))
		})
	}
}

// What a task may do is settled when it is submitted, and shown.
func TestGrantsAreKept(t *testing.T) {
	t.Parallel()
	w := setup(t)
	created := w.submit(careful(`, "apply": true, "manifests": [`+shopConfigMap+`], "targetResources": [
		{"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"},
		{"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "live", "labelSelector": "app=web"},
		{"apiVersion": "v1", "kind": "Node", "name": "n1"}]`), http.StatusCreated)
	task := w.get(created.TaskID.String())
	if task.Policy == nil || task.Policy.Rule != "careful/executions/2" || task.Project != "careful" {
		t.Fatalf("policy %+v, project %q", task.Policy, task.Project)
	}
	grants, _ := json.Marshal(task.Policy.Grants)
	want := `[{"resource":{"apiVersion":"apps/v1","kind":"Deployment","name":"web","namespace":"shop"},"verbs":["get","list","create","patch"]},` +
		`{"checked":["create","patch"],"resource":{"apiVersion":"apps/v1","kind":"Deployment","labelSelector":"app=web","namespace":"live"}},` +
		`{"resource":{"apiVersion":"v1","kind":"Node","name":"n1"}},` +
		`{"resource":{"apiVersion":"v1","kind":"ConfigMap","name":"limits","namespace":"shop"},"verbs":["get","list","create","patch"]}]`
	if sorted(t, grants) != sorted(t, []byte(want)) {
		t.Errorf("grants %s", grants)
	}
	if n := w.count(`SELECT count(*) FROM codex_task_manifests WHERE task_id = $1 AND manifests::text LIKE '%"requests":"200"%'`, created.TaskID); n != 1 {
		t.Error("the manifests are not kept")
	}
	if len(task.Snapshots) != 0 {
		t.Errorf("what is to be applied counts as the state before: %+v", task.Snapshots)
	}
}

// sorted is JSON with the keys of its objects in order.
func sorted(t *testing.T, text []byte) string {
	t.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	encoded, _ := json.Marshal(value)
	return string(encoded)
}

func (w *world) decide(task api.Task, approval int, token, decision string, status int) *http.Response {
	w.t.Helper()
	path := "/v1/codex/tasks/" + task.TaskID.String() + "/approvals/" + task.Approvals[approval].ApprovalID.String()
	res := w.request(http.MethodPost, path, token, `{"decision": "`+decision+`", "comment": "as discussed"}`)
	if res.StatusCode != status {
		w.t.Fatalf("%s of approval %d: %s, want %d", decision, approval, res.Status, status)
	}
	return res
}

func TestApprovalHoldsATask(t *testing.T) {
	t.Parallel()
	w := setup(t)
	created := w.submit(careful(`, "tags": ["urgent"], "apply": true, "manifests": [`+liveDeployment+`]`), http.StatusCreated)
	id := created.TaskID.String()
	task := w.get(id)
	if created.Status != api.TaskStatusAwaitingApproval || task.Status != api.TaskStatusAwaitingApproval || len(task.Approvals) != 2 {
		t.Fatalf("created as %s, is %s with approvals %+v", created.Status, task.Status, task.Approvals)
	}
	if a := task.Approvals[1]; a.Description != "apply Deployment live/web" || a.Reason != "it is live" || a.Rule != "careful/resources/2" {
		t.Errorf("approval %+v", a)
	}
	w.decide(task, 0, testToken, "approved", http.StatusForbidden) // its own caller
	w.decide(task, 0, otherToken, "approved", http.StatusOK)
	w.decide(task, 0, otherToken, "approved", http.StatusOK)
	w.decide(task, 0, otherToken, "rejected", http.StatusConflict)
	if now := w.get(id); now.Status != api.TaskStatusAwaitingApproval {
		t.Fatalf("is %s with one of two approvals", now.Status)
	}
	w.decide(task, 1, otherToken, "approved", http.StatusOK)
	task = w.get(id)
	if a := task.Approvals[1]; task.Status != api.TaskStatusQueued || a.DecidedBy != "ops" || a.DecidedAt == nil || a.Comment != "as discussed" {
		t.Errorf("is %s after %+v", task.Status, a)
	}
	var decided int
	for _, e := range w.sink.Wait(w.context, t, id, 5) {
		if e.Type() == event.TypeApprovalDecided {
			decided++
		}
	}
	if decided != 2 {
		t.Errorf("%d decisions were announced, want 2", decided)
	}
}

// Creating and patching may be two people's to approve: then both have to, as nobody knows yet which it will be.
func TestEachEntryAsksForItsApproval(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_POLICY_FILE", policyFile(t, `
rules:
  - name: two
    callers: [ci]
    resources:
      - {verbs: [create], apiGroups: [apps], kinds: [Deployment], namespaces: [live], approval: {approvers: [ops]}}
      - {verbs: [patch], apiGroups: [apps], kinds: [Deployment], namespaces: [live], approval: {approvers: [lead]}}
    executions: [{}]
`))
	created := w.submit(`{"prompt": "p", "agent": {"command": ["true"]}, "apply": true, "manifests": [`+liveDeployment+`]}`, http.StatusCreated)
	task := w.get(created.TaskID.String())
	if len(task.Approvals) != 2 || task.Approvals[0].Rule != "two/resources/0" || task.Approvals[1].Rule != "two/resources/1" {
		t.Fatalf("approvals %+v", task.Approvals)
	}
	w.decide(task, 0, otherToken, "approved", http.StatusOK)
	w.decide(task, 1, otherToken, "approved", http.StatusForbidden)
	if now := w.get(created.TaskID.String()); now.Status != api.TaskStatusAwaitingApproval {
		t.Errorf("is %s, although nobody may have patched", now.Status)
	}
}

func policyFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Conditions see whole numbers as such, as those of actions do.
func TestConditionsCount(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_POLICY_FILE", policyFile(t, `
rules:
  - name: even
    callers: [ci]
    resources:
      - {verbs: ["*"], apiGroups: [apps], kinds: [Deployment], namespaces: [live], when: object == null || object.spec.replicas % 2 == 1}
    executions: [{}]
`))
	var answer api.PolicyAnswer
	w.call(http.MethodPost, "/v1/codex/policy/explain", `{"action": {"verb": "patch", "resource":
		{"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "live", "name": "web"}, "object": `+liveDeployment+`}}`, http.StatusOK, &answer)
	if !answer.Decision.Allowed {
		t.Errorf("explained as %s", answer.Decision.Reason)
	}
	w.submit(`{"prompt": "p", "agent": {"command": ["true"]}, "apply": true, "manifests": [`+liveDeployment+`]}`, http.StatusCreated)
	id := w.submit(minimal, http.StatusCreated).TaskID.String()
	w.move(id, "launching", "running", "finalizing", "succeeded")
	w.snapshots(id, `[`+liveDeployment+`]`, `[]`)
	go func() { // As launch does.
		for w.context.Err() == nil {
			_, _ = w.pool.Exec(w.context, `UPDATE codex_undos SET status = 'done', finished_at = now() WHERE status = 'requested'`)
			time.Sleep(50 * time.Millisecond)
		}
	}()
	w.call(http.MethodPost, "/v1/codex/tasks/"+id+"/undo", "{}", http.StatusOK, nil)
}

// A key's task stays what it is when the policy changes: who repeats the submission is told of it.
func TestRepetitionAfterAnotherPolicy(t *testing.T) {
	t.Parallel()
	file := policyFile(t, "rules: [{name: one, callers: [ci], executions: [{}]}]")
	w := setup(t, "GRAF_POLICY_FILE", file)
	const keyed = `{"idempotencyKey": "k1", "prompt": "p", "agent": {"command": ["true"]}}`
	first := w.submit(keyed, http.StatusCreated)
	if err := os.WriteFile(file, []byte("rules: []"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // The policy in force is a second old at most.
	problemOf(t, w.call(http.MethodPost, "/v1/codex/tasks", strings.Replace(keyed, "k1", "k2", 1), http.StatusForbidden, nil))
	if again := w.submit(keyed, http.StatusOK); again.TaskID != first.TaskID {
		t.Errorf("task %s, then %s", first.TaskID, again.TaskID)
	}
	problemOf(t, w.call(http.MethodPost, "/v1/codex/tasks", strings.Replace(keyed, `"p"`, `"q"`, 1), http.StatusForbidden, nil))
}

func TestRejectionCancels(t *testing.T) {
	t.Parallel()
	w := setup(t)
	id := w.submit(careful(`, "tags": ["urgent"]`), http.StatusCreated).TaskID.String()
	w.decide(w.get(id), 0, otherToken, "rejected", http.StatusOK)
	task := w.get(id)
	if task.Status != api.TaskStatusCancelled || !strings.Contains(task.Failure.Reason, "approval to run the task was rejected: as discussed") {
		t.Errorf("is %s: %+v", task.Status, task.Failure)
	}
	waits := w.submit(careful(`, "tags": ["urgent"]`), http.StatusCreated).TaskID.String()
	if got := w.cancel(waits, "{}", http.StatusAccepted); got != api.TaskStatusCancelled {
		t.Errorf("cancelled as %s", got)
	}
	w.decide(w.get(waits), 0, otherToken, "approved", http.StatusConflict)
}

func TestExplain(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for name, c := range map[string]struct {
		question string
		allowed  bool
		rule     string
		line     int
	}{
		"allowed": {`{"project": "careful", "action": {"verb": "patch", "resource": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}}}`, true, "careful/resources/1", 11},
		"denied":  {`{"project": "careful", "action": {"verb": "delete", "resource": {"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "s"}}}`, false, "careful/resources/0", 6},
		"nobody":  {`{"caller": "mallory", "project": "careful", "execution": {}}`, false, "", 0},
		"run":     {`{"execution": {"image": "any"}}`, true, "everybody/executions/0", 35},
	} {
		t.Run(name, func(t *testing.T) {
			var answer api.PolicyAnswer
			w.call(http.MethodPost, "/v1/codex/policy/explain", c.question, http.StatusOK, &answer)
			if d := answer.Decision; d.Allowed != c.allowed || d.Rule != c.rule || d.Line != c.line || answer.Fault != "" {
				t.Errorf("got %+v", answer)
			}
		})
	}
	w.call(http.MethodPost, "/v1/codex/policy/explain", `{}`, http.StatusUnprocessableEntity, nil)
}

// A policy with a fault is not taken: the one before stays in force, and says so.
func TestPolicyIsReloaded(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("rules: [{name: one, callers: [ci], executions: [{}]}]")
	w := setup(t, "GRAF_POLICY_FILE", file)
	question := `{"execution": {}}`
	explain := func(want func(api.PolicyAnswer) bool) {
		t.Helper()
		var answer api.PolicyAnswer
		for w.context.Err() == nil {
			answer = api.PolicyAnswer{}
			if w.call(http.MethodPost, "/v1/codex/policy/explain", question, http.StatusOK, &answer); want(answer) {
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
		t.Fatalf("still %+v: %v", answer, context.Cause(w.context))
	}
	explain(func(a api.PolicyAnswer) bool { return a.Decision.Rule == "one/executions/0" && a.Fault == "" })
	write("rules:\n  - name: two\n    callers: [ci]\n    executions:\n      - {when: 'task.priority >'}\n")
	explain(func(a api.PolicyAnswer) bool {
		return a.Decision.Rule == "one/executions/0" && strings.Contains(a.Fault, "line 5")
	})
	write("rules: [{name: three, callers: [ci], executions: [{}]}]")
	explain(func(a api.PolicyAnswer) bool { return a.Decision.Rule == "three/executions/0" && a.Fault == "" })
	if n := w.count("SELECT count(*) FROM codex_policies"); n != 2 {
		t.Errorf("%d versions are kept, want the 2 that were in force", n)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	explain(func(a api.PolicyAnswer) bool { return a.Decision.Rule == "three/executions/0" && a.Fault != "" })
	write("") // which is valid, and allows nothing
	explain(func(a api.PolicyAnswer) bool { return a.Decision.Rule == "" && !a.Decision.Allowed && a.Fault == "" })
}

func TestWithoutAPolicyNothingMayRun(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_POLICY_FILE", "")
	p := problemOf(t, w.call(http.MethodPost, "/v1/codex/tasks", minimal, http.StatusForbidden, nil))
	if len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Detail, "GRAF_POLICY_FILE") {
		t.Errorf("got %+v", p)
	}
}

// finished stores a task that has ended, with the resources before and after as launch and finalize read them.
func (w *world) finished(before, after string) string {
	w.t.Helper()
	id := w.submit(careful(""), http.StatusCreated).TaskID.String()
	w.move(id, "launching", "running", "finalizing", "succeeded")
	w.snapshots(id, before, after)
	return id
}

// snapshots stores the resources before and after a task as launch and finalize read them.
func (w *world) snapshots(id, before, after string) {
	w.t.Helper()
	for kind, manifests := range map[string]string{"before": before, "after": after} {
		objects, err := manifest.Parse([]byte(manifests), nil)
		if err != nil {
			w.t.Fatal(err)
		}
		w.exec(`INSERT INTO codex_task_snapshots (id, task_id, type, attempt, manifests, digest, live) VALUES ($1, $2, $3, 1, $4, $5, true)`,
			uuid.New(), id, kind, manifests, manifest.Digest(objects))
	}
}

func TestUndoIsRequested(t *testing.T) {
	t.Parallel()
	w := setup(t)
	changed := strings.Replace(shopConfigMap, "200", "300", 1)
	id := w.finished(`[`+shopConfigMap+`]`, `[`+changed+`]`)
	path := "/v1/codex/tasks/" + id + "/undo"
	// The policy lets ci patch and create, but not update.
	p := problemOf(t, w.call(http.MethodPost, path, "{}", http.StatusForbidden, nil))
	if len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Detail, "update ConfigMap shop/limits") {
		t.Errorf("got %+v", p)
	}
	running := w.submit(careful(""), http.StatusCreated).TaskID.String()
	w.call(http.MethodPost, "/v1/codex/tasks/"+running+"/undo", "{}", http.StatusConflict, nil)
	w.call(http.MethodPost, "/v1/codex/tasks/"+uuid.NewString()+"/undo", "{}", http.StatusNotFound, nil)
	deleted := w.finished(`[`+shopConfigMap+`]`, `[]`)
	go func() { // As launch does.
		for w.context.Err() == nil {
			_, _ = w.pool.Exec(w.context, `UPDATE codex_undos SET status = 'done', finished_at = now(),
				result = '{"resources": [{"resource": {"apiVersion": "v1", "kind": "ConfigMap", "name": "limits"}, "operation": "created"}]}'
				WHERE status = 'requested'`)
			time.Sleep(50 * time.Millisecond)
		}
	}()
	var undo api.Undo
	w.call(http.MethodPost, "/v1/codex/tasks/"+deleted+"/undo", `{"dryRun": true}`, http.StatusOK, &undo)
	if undo.Status != api.UndoStatusDone || !undo.DryRun || len(undo.Resources) != 1 || undo.Resources[0].Operation != api.UndoOperationCreated {
		t.Errorf("got %+v", undo)
	}
	if shown := w.get(deleted).Undos; len(shown) != 1 || shown[0].UndoID != undo.UndoID {
		t.Errorf("shown as %+v", shown)
	}
}
