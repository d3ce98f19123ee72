//go:build e2e

package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/api"
)

// outgoing is a request that a pod sends, as the tests' agent takes it.
type outgoing struct {
	Name   string            `json:"name"`
	Method string            `json:"method"`
	URL    string            `json:"url"`
	Token  string            `json:"token"`
	Type   string            `json:"type"`
	Header map[string]string `json:"header,omitempty"`
	Body   string            `json:"body"`

	want int
}

// TestRefuse calls Graf from a pod of another namespace, without a token, with
// one that is not known, and with those of other tasks.
func TestRefuse(t *testing.T) {
	s := newSystem(t)
	gates := s.newGates(t)
	victim := s.submit(t, s.working(t, "Be reported on by another.", gates.at("go")))
	other := s.submit(t, s.working(t, "Hold a token of one's own.", gates.at("go")))
	s.awaitStatus(t, victim.TaskID, api.TaskStatusRunning)
	calls := s.calls(victim, other)
	got := s.fromPod(t, calls)
	for _, c := range calls {
		if got[c.Name] != c.want {
			t.Errorf("%s: %s %s was answered %d, not %d", c.Name, c.Method, c.URL, got[c.Name], c.want)
		}
	}
	gates.unlock("go")
	s.awaitEnds(t, victim.TaskID, other.TaskID)
	s.checkSteps(t, "succeeded", victim.TaskID, other.TaskID)
	var foreign, requested int
	must(t, s.pool.QueryRow(within(t), `SELECT count(*) FROM codex_task_events WHERE event_id = $1`, s.run).Scan(&foreign))
	must(t, s.pool.QueryRow(within(t), `SELECT count(*) FROM codex_tasks WHERE prompt = $1`, s.run).Scan(&requested))
	if foreign != 0 || requested != 0 {
		t.Errorf("%d reports and %d tasks of strangers were taken", foreign, requested)
	}
}

// calls are the requests, within the cluster's network and through its ingress.
func (s *system) calls(victim, other api.TaskCreated) []outgoing {
	const path = "/v1/codex/tasks"
	one := path + "/" + victim.TaskID.String()
	within := func(function string) string { return "http://graf-" + function + ".graf.svc.cluster.local" }
	report := `{"eventId":"` + s.run + `","eventType":"progress","content":"I was here."}`
	task := `{"prompt":"` + s.run + `","agent":{"kind":"command","command":["/app"]}}`
	const json = "application/json"
	get, post := http.MethodGet, http.MethodPost
	return []outgoing{
		{"submit without a token", post, within("submit") + path, "", json, nil, task, 401},
		{"submit with an unknown token", post, within("submit") + path, "graf_made_up_token", json, nil, task, 401},
		{"submit with a task's token", post, within("submit") + path, other.Callback.Token, json, nil, task, 403},
		{"show without a token", get, within("submit") + one, "", "", nil, "", 401},
		{"show with a task's token", get, within("submit") + one, victim.Callback.Token, "", nil, "", 403},
		{"list without a token", get, within("submit") + path, "", "", nil, "", 401},
		{"cancel without a token", post, within("submit") + one + "/cancel", "", json, nil, "{}", 401},
		{"report without a token", post, within("callback") + one + "/events", "", json, nil, report, 401},
		{"report with an unknown token", post, within("callback") + one + "/events", "graf_task_made_up", json, nil, report, 401},
		{"report with another task's token", post, within("callback") + one + "/events", other.Callback.Token, json, nil, report, 403},
		{"report with an API token", post, within("callback") + one + "/events", s.token, json, nil, report, 403},
		{"read events without a token", get, within("callback") + one + "/events", "", "", nil, "", 401},
		{"read events with another task's token", get, within("callback") + one + "/events", other.Callback.Token, "", nil, "", 403},
		{"recall without a token", get, within("memory") + one + "/memory", "", "", nil, "", 401},
		{"recall with another task's token", get, within("memory") + one + "/memory", other.Callback.Token, "", nil, "", 403},
		{"query with another task's token", post, within("memory") + one + "/memory/query", other.Callback.Token, json, nil, `{"query":"x"}`, 403},
		{"an event of a stranger", post, within("submit") + "/", "", json, map[string]string{
			"Ce-Specversion": "1.0", "Ce-Id": s.run, "Ce-Source": "/a/stranger", "Ce-Type": "dev.graf.codex.task.requested.v1",
		}, task, 403},
		// What the right tokens are for, so that the refusals mean something.
		{"recall with its own token", get, within("memory") + one + "/memory", victim.Callback.Token, "", nil, "", 200},
		{"show with an API token", get, within("submit") + one, s.token, "", nil, "", 200},
	}
}

// fromPod has a pod in another namespace send the requests, and gives the
// statuses of the answers by name.
func (s *system) fromPod(t *testing.T, calls []outgoing) map[string]int {
	t.Helper()
	encoded, err := json.Marshal(calls)
	must(t, err)
	name := "calls-" + s.run
	s.create(t, jobs, object{
		"apiVersion": "batch/v1", "kind": "Job", "metadata": object{"name": name, "namespace": tests},
		"spec": object{"backoffLimit": int64(0), "template": object{"spec": object{
			"restartPolicy": "Never", "automountServiceAccountToken": false,
			"containers": []any{object{
				"name": "calls", "image": image(t), "command": []any{"/app", "call"},
				"env": []any{object{"name": "CALLS", "value": string(encoded)}},
			}},
		}}},
	})
	statuses := map[string]int{}
	eventually(t, "the pod has made its calls", func() bool {
		for _, pod := range s.podsOf(t, tests, "job-name="+name) {
			if message := lastWords(&pod); message != "" {
				if err := json.Unmarshal([]byte(message), &statuses); err != nil {
					t.Fatalf("the pod says: %s", message)
				}
				return true
			}
		}
		return false
	})
	return maps.Clone(statuses)
}

// lastWords is what a pod's container left behind when it ended.
func lastWords(pod *unstructured.Unstructured) string {
	containers, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
	for _, c := range containers {
		if fields, ok := c.(object); ok {
			message, found, _ := nested(fields, "state", "terminated", "message")
			if found {
				return message
			}
			if code, found, _ := nested(fields, "state", "terminated", "exitCode"); found {
				return "nothing, and exited with code " + code
			}
		}
	}
	return ""
}
