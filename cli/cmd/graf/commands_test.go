package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	graf "github.com/graf-run/graf/sdk/go"
)

const someID = "01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d"

// answering is a context file for a server that gives these answers, by method and path.
func answering(t *testing.T, answers map[string]string) (configFile string, asked func() []string) {
	t.Helper()
	var requests []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests = append(requests, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
		answer, ok := answers[r.Method+" "+r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf("current: here\ncontexts: {here: {url: %q, token: x}}\n", server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, func() []string { return requests }
}

// TestAnswers shows what answers look like that a local platform does not give by
// itself: those about approvals, undo, retries, memories and dead letters.
func TestAnswers(t *testing.T) {
	letter := `{"deadLetterId":"` + someID + `","status":"dead","eventId":"e","source":"/s","type":"graf.task","destination":"d",` +
		`"error":"too\u001b[2Jbad","createdAt":"2026-01-05T10:00:00Z","event":{"id":"e"}}`
	approval := `{"approvalId":"` + someID + `","taskId":"` + someID + `","description":"delete web","rule":"r","approvers":["a"],` +
		`"requestedAt":"2026-01-05T10:00:00Z"`
	task := "/v1/codex/tasks/" + someID
	for name, test := range map[string]struct {
		arguments []string
		answers   map[string]string
		status    int
		says      string
		sends     string
	}{
		"approve the only one": {
			[]string{"approve", someID, "--comment", "fine"},
			map[string]string{
				"GET " + task:                           `{"taskId":"` + someID + `","status":"awaiting_approval","approvals":[` + approval + `}]}`,
				"POST " + task + "/approvals/" + someID: approval + `,"decision":"approved"}`,
			}, 0, "approved: delete web", `{"comment":"fine","decision":"approved"}`,
		},
		"reject": {
			[]string{"approve", someID, someID, "--reject"},
			map[string]string{"POST " + task + "/approvals/" + someID: approval + `,"decision":"rejected"}`},
			0, "rejected: delete web", `{"decision":"rejected"}`,
		},
		"undo": {
			[]string{"undo", someID},
			map[string]string{"POST " + task + "/undo": `{"undoId":"` + someID + `","status":"done","resources":[` +
				`{"resource":{"apiVersion":"v1","kind":"ConfigMap","namespace":"shop","name":"web"},"operation":"restored","diff":"-a\n+b"}]}`},
			0, "ConfigMap shop/web: restored", "/undo {}",
		},
		"undo refused": {
			[]string{"undo", someID},
			map[string]string{"POST " + task + "/undo": `{"undoId":"` + someID + `","status":"refused","reason":"changed since","resources":[` +
				`{"resource":{"kind":"Node","name":"n1"},"operation":"restored","conflicts":[".spec"],"lost":["password"]}]}`},
			exitConflict, "the undo was refused: changed since\nsee what is in its way: graf undo " + someID + " --dry-run", "/undo {}",
		},
		"undo would be refused": {
			[]string{"undo", someID, "--dry-run"},
			map[string]string{"POST " + task + "/undo": `{"undoId":"` + someID + `","status":"refused","reason":"changed since"}`},
			exitConflict, "the undo was refused: changed since", `{"dryRun":true}`,
		},
		"undo failed": {
			[]string{"undo", someID},
			map[string]string{"POST " + task + "/undo": `{"undoId":"` + someID + `","status":"failed","reason":"no cluster"}`},
			exitError, "the undo was failed: no cluster", "/undo {}",
		},
		"undo that takes longer than its answer": {
			[]string{"undo", someID, "-o", "json"},
			map[string]string{
				"POST " + task + "/undo": `{"undoId":"` + someID + `","status":"requested"}`,
				"GET " + task:            `{"undos":[{"undoId":"` + someID + `","status":"failed","reason":"no cluster"}]}`,
			}, exitError, "the undo was failed: no cluster", "GET " + task,
		},
		"get a task with an undo": {
			[]string{"get", someID},
			map[string]string{"GET " + task: `{"undos":[{"undoId":"` + someID + `","status":"failed","reason":"no cluster"}]}`},
			0, someID + " failed: no cluster", "GET",
		},
		"retry": {
			[]string{"retry", someID, "--force", "--idempotency-key", "k"},
			map[string]string{"POST " + task + "/retry": `{"taskId":"` + someID + `","status":"queued"}`},
			0, someID, `{"force":true,"idempotencyKey":"k"}`,
		},
		"search memory": {
			[]string{"memory", "search", "rollouts", "-n", "shop", "--kind", "outcome", "--limit", "3"},
			map[string]string{"POST /v1/codex/memory/query": `{"recall":{"mode":"text_only","reason":"no vector"},"results":[` +
				`{"memoryId":"` + someID + `","score":0.5,"snippet":"a\nb","source":{"kind":"outcome"},"createdAt":"2026-01-05T10:00:00Z"}]}`},
			0, "a b", `"kinds":["outcome"],"limit":3,"namespace":"shop","text":"rollouts"`,
		},
		"show a memory": {
			[]string{"memory", "show", someID},
			map[string]string{"GET /v1/codex/memory/" + someID: `{"memoryId":"` + someID + `","content":"All\u001b[31m of it.","source":{"kind":"event"}}`},
			0, "of it.", "GET",
		},
		"forget a memory": {
			[]string{"memory", "forget", someID}, map[string]string{"DELETE /v1/codex/memory/" + someID: ""}, 0, "is forgotten", "DELETE",
		},
		"list dead letters": {
			[]string{"dlq", "list", "--status", "dead", "--limit", "5"},
			map[string]string{"GET /v1/codex/dead-letters": `{"deadLetters":[` + letter + `]}`}, 0, "graf.task", "limit=5&status=dead",
		},
		"show a dead letter": {
			[]string{"dlq", "show", someID}, map[string]string{"GET /v1/codex/dead-letters/" + someID: letter}, 0, "id: e", "GET",
		},
		"replay a dead letter": {
			[]string{"dlq", "replay", someID}, map[string]string{"POST /v1/codex/dead-letters/" + someID + "/replay": letter},
			0, someID + " is dead", "POST",
		},
		"no such letter":    {[]string{"dlq", "show", someID}, nil, exitNotFound, "Not Found\ngraf dlq list shows", "GET"},
		"no letter to send": {[]string{"dlq", "replay", someID}, nil, exitNotFound, "Not Found\ngraf dlq list shows", "POST"},
		"no such memory":    {[]string{"memory", "show", someID}, nil, exitNotFound, "Not Found\ngraf memory search TEXT finds", "GET"},
		"no such task":      {[]string{"get", someID}, nil, exitNotFound, "Not Found\ngraf list shows", "GET"},
	} {
		t.Run(name, func(t *testing.T) {
			file, asked := answering(t, test.answers)
			t.Setenv("GRAF_CONFIG", file)
			var out bytes.Buffer
			status := run(t, streams{in: strings.NewReader(""), out: &out, err: &out, width: 100}, append(test.arguments, "--context", "here")...)
			if status != test.status || !strings.Contains(out.String(), test.says) || strings.Contains(out.String(), "\x1b") {
				t.Errorf("status %d, want %d and %q:\n%s", status, test.status, test.says, out.String())
			}
			if requests := asked(); len(requests) == 0 || !strings.Contains(requests[len(requests)-1], test.sends) {
				t.Errorf("sent %q, not %s", requests, test.sends)
			}
		})
	}
}

func TestEventText(t *testing.T) {
	t.Parallel()
	resource := `{"apiVersion":"apps/v1","kind":"Deployment","namespace":"shop","name":"web",`
	for _, test := range []struct {
		kind          graf.EventType
		content, want string
	}{
		{graf.EventTypeProgress, `"Halfway."`, "Halfway."},
		{graf.EventTypeCompleted, `{"summary":"Done."}`, "Done."},
		{graf.EventTypeCompleted, `{"summary":"Done.","lesson":"Twice is enough."}`, "Done.\nLesson: Twice is enough."},
		{graf.EventTypeProgress, `{"lesson":"Twice is enough."}`, "Lesson: Twice is enough."},
		{graf.EventTypeUsage, `{"inputTokens":100,"cachedInputTokens":20,"outputTokens":10}`, "100 input tokens, 20 of them cached, 10 output tokens"},
		{graf.EventTypeUsage, `{"usd":0.25}`, "0 input tokens, 0 of them cached, 0 output tokens, $0.2500"},
		{graf.EventTypeProgress, `{"kind":"session","message":"session s1"}`, "session s1"},
		{graf.EventTypeLog, `{"stream":"stdout","text":"hello"}`, "hello"},
		{
			graf.EventTypeResource, resource + `"change":"changed","ready":false,"failed":false,"message":"1 of 2 replicas"}`,
			"Deployment shop/web changed, not ready: 1 of 2 replicas",
		},
		{graf.EventTypeResource, resource + `"change":"changed","ready":true,"failed":false}`, "Deployment shop/web changed, ready"},
		{
			graf.EventTypeResource, resource + `"change":"added","ready":false,"failed":true,"message":"no image"}`,
			"Deployment shop/web added, failed: no image",
		},
		{graf.EventTypeResource, resource + `"change":"deleted","ready":false,"failed":false}`, "Deployment shop/web deleted"},
	} {
		if got := eventText(graf.TaskEvent{EventType: test.kind, Content: graf.EventContent(test.content)}); got != test.want {
			t.Errorf("%s is told as %q, not %q", test.content, got, test.want)
		}
	}
}

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]graf.ResourceReference{
		"deploy/web":             {APIVersion: "apps/v1", Kind: "Deployment", Namespace: "prod", Name: "web"},
		"Deployments/web":        {APIVersion: "apps/v1", Kind: "Deployment", Namespace: "prod", Name: "web"},
		"ns/prod":                {APIVersion: "v1", Kind: "Namespace", Name: "prod"},
		"cm":                     {APIVersion: "v1", Kind: "ConfigMap", Namespace: "prod"},
		"Deployment.v1.apps/web": {APIVersion: "apps/v1", Kind: "Deployment", Namespace: "prod", Name: "web"},
		"Broker.v1.eventing.knative.dev/b": {
			APIVersion: "eventing.knative.dev/v1", Kind: "Broker", Namespace: "prod", Name: "b",
		},
		"Secret.v1/s": {APIVersion: "v1", Kind: "Secret", Namespace: "prod", Name: "s"},
	} {
		if got, err := parseTarget(text, "prod", ""); err != nil || got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "/web", "deploy/", "deploy/a/b", "unknown/web"} {
		if got, err := parseTarget(text, "prod", ""); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
	if got, err := parseTarget("deploy", "prod", "app=web"); err != nil || got.LabelSelector != "app=web" {
		t.Errorf("with a selector it is %+v, %v", got, err)
	}
	if _, err := parseTarget("deploy/web", "prod", "app=web"); err == nil {
		t.Error("a name and a selector are taken")
	}
}

// On a terminal the progress display is drawn and taken away again, in colour; the
// task is run by the platform beside the tests.
func TestLiveDisplay(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := streams{in: strings.NewReader(""), out: &out, err: &out, live: true, colour: true, width: 100}
	if status := run(t, s, "submit", "Take a second.", "--watch", "--", "sleep", "1"); status != 0 {
		t.Fatalf("status %d:\n%s", status, out.String())
	}
	text := out.String()
	for _, part := range []string{"\x1b[1mrunning\x1b[0m", " › ", "\r\x1b[K", "\x1b[32msucceeded"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%q", part, text)
		}
	}
	shown := strings.Split(strings.TrimSpace(text), "\n")
	if slices.ContainsFunc(shown[len(shown)-1:], func(line string) bool { return strings.ContainsRune(line, '›') }) {
		t.Errorf("the display is left behind: %q", shown[len(shown)-1])
	}
}
