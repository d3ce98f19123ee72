package finalize

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/tasktest"
)

// What a dead letter keeps of a resource has none of the places where a secret may be.
func TestDeadLettersOfResources(t *testing.T) {
	t.Parallel()
	const pod = `"spec": {"containers": [{"name": "agent", "env": [{"name": "API_KEY", "value": "hunter2"}]}]}`
	const metadata = `"metadata": {"name": "a", "namespace": "graf", "uid": "u", "generation": 2, "labels": {"graf.dev/attempt": "1"},
		"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"}, "managedFields": [{"manager": "hunter2"}]}`
	const kept = `"metadata":{"name":"a","namespace":"graf","uid":"u","labels":{"graf.dev/attempt":"1"},"generation":2}`
	for name, c := range map[string]struct{ sent, want string }{
		"Job": {
			`{"apiVersion": "batch/v1", "kind": "Job", ` + metadata + `, "spec": {"template": {` + pod + `}},
				"status": {"ready": 1, "conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "hunter2"}]}}`,
			`{"apiVersion":"batch/v1","kind":"Job",` + kept + `,"status":{"ready":1,"conditions":[{"type":"Failed","status":"True","reason":"DeadlineExceeded"}]}}`,
		},
		"Workflow": {
			`{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", ` + metadata + `, "spec": {"templates": [` + pod[len(`"spec": `):] + `]},
				"status": {"phase": "Failed", "message": "hunter2", "nodes": {"n": {"message": "hunter2"}}, "storedTemplates": {"t": "hunter2"}}}`,
			`{"apiVersion":"argoproj.io/v1alpha1","kind":"Workflow",` + kept + `,"status":{"phase":"Failed"}}`,
		},
		"Deployment": {
			`{"apiVersion": "apps/v1", "kind": "Deployment", ` + metadata + `, "spec": {"replicas": 0, "template": {` + pod + `}},
				"status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 1}}`,
			`{"apiVersion":"apps/v1","kind":"Deployment",` + kept + `,"spec":{"replicas":0},` +
				`"status":{"observedGeneration":2,"replicas":3,"updatedReplicas":2,"availableReplicas":1}}`,
		},
		"cut off":      {`{"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {` + pod, ``},
		"no resource":  {`["hunter2"]`, ``},
		"odd metadata": {`{"metadata": {"name": {"hunter2": "hunter2"}}}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			for _, typ := range []string{event.TypeResourceAdd, event.TypeResourceUpdate, event.TypeResourceDelete} {
				e := event.New(t.Context(), typ, "https://10.96.0.1:443", "", json.RawMessage(`{}`))
				e.DataEncoded = []byte(c.sent)
				e.SetExtension(extensionDestination, "http://graf-finalize")
				if code := f.deliverDead(t, e); code != http.StatusNoContent {
					t.Fatalf("answered %d", code)
				}
				if got := f.letter(t, typ); string(got.Data()) != c.want {
					t.Errorf("%s: kept %s, want %s", typ, got.Data(), c.want)
				}
			}
			rows := tasktest.Scan[string](t, f.pool, `SELECT string_agg(l::text, '') FROM codex_dead_letters l`)
			if strings.Contains(rows, "hunter2") {
				t.Errorf("the secret is kept: %s", rows)
			}
		})
	}
}

// letter is the event of the one dead letter of a type, as it is sent again.
func (f *fixture) letter(t *testing.T, typ string) event.Event {
	t.Helper()
	var e event.Event
	stored := tasktest.Scan[string](t, f.pool, `SELECT event::text FROM codex_dead_letters WHERE type = $1`, typ)
	if err := json.Unmarshal([]byte(stored), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// A letter about a Job that has ended ends the task when it is sent again.
func TestReducedLetterDoesWhatTheEventWould(t *testing.T) {
	t.Parallel()
	for typ, condition := range map[string]string{event.TypeResourceUpdate: failed, event.TypeResourceDelete: active} {
		f := setup(t)
		task := f.started(t, false)
		f.cluster.executions = []kube.Observation{observe(task, kube.PhaseFailed)}
		if code := f.deliverDead(t, jobEvent(t.Context(), typ, task, condition)); code != http.StatusNoContent {
			t.Fatalf("answered %d", code)
		}
		handle := f.handleExecutionUpdate
		if typ == event.TypeResourceDelete {
			handle = f.handleExecutionDelete
		}
		if err := handle(t.Context(), f.letter(t, typ)); err != nil {
			t.Fatal(err)
		}
		if got := f.sink.types(); !slices.Equal(got, []string{event.TypeTaskFinished}) {
			t.Errorf("%s: announced %v", typ, got)
		}
	}
}
