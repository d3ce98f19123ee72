package platform

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/graf-run/graf/local/services"
	"github.com/graf-run/graf/shared/api"
)

// readsNeedApproval lets tasks read ConfigMaps once somebody has approved it, which
// is found out before the cluster is asked.
const readsNeedApproval = `rules:
  - name: everyone-runs
    callers: ["*"]
    executions:
      - modes: [direct]
    resources:
      - verbs: [get]
        apiGroups: [""]
        kinds: [ConfigMap]
        namespaces: [shop]
        approval: {approvers: [lead], reason: somebody should know}
`

// bearer sends a token with each request.
type bearer struct{ token string }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(r)
}

// tools connects a client of the Model Context Protocol to a task's tools, through the gateway.
func (s *system) tools(t *testing.T, task uuid.UUID, token string) *mcp.ClientSession {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(within(t), &mcp.StreamableClientTransport{
		Endpoint: s.URL() + "/v1/codex/tasks/" + task.String() + "/mcp", HTTPClient: &http.Client{Transport: bearer{token}},
	}, nil)
	must(t, err)
	t.Cleanup(func() { _ = session.Close() })
	return session
}

// use calls a tool; its text is the answer, or what is wrong with the call.
func use(t *testing.T, session *mcp.ClientSession, tool string, arguments any) (text string, failed bool) {
	t.Helper()
	result, err := session.CallTool(within(t), &mcp.CallToolParams{Name: tool, Arguments: arguments})
	must(t, err)
	for _, content := range result.Content {
		if part, ok := content.(*mcp.TextContent); ok {
			text += part.Text
		}
	}
	return text, result.IsError
}

// What an agent reports by tools is stored as what it reports by HTTP: as events, and
// memories that another task finds.
func TestTools(t *testing.T) {
	t.Parallel()
	folder := dataFolder(t)
	must(t, os.WriteFile(filepath.Join(folder, "policy.yaml"), []byte(readsNeedApproval), 0o600))
	s := startWith(t, Config{Services: services.Config{DataFolder: folder, Dependencies: services.Local, Ephemeral: true}})
	created := s.submit(t, shell("Find out how much memory the till needs.", waitForGate, "GATE", s.note("tools")))
	s.awaitStatus(t, created.TaskID, api.TaskStatusRunning)
	session := s.tools(t, created.TaskID, created.Callback.Token)

	const secret = "graf_task_0123456789abcdefghijklmnop"
	lesson := "The till needs 512Mi of memory in the evening, with " + secret + " as its token."
	for range 2 {
		if text, failed := use(t, session, "record_lesson", map[string]any{"lesson": lesson}); failed || !strings.Contains(text, `"sequence":1`) {
			t.Errorf("record_lesson: %s", text)
		}
	}
	if text, failed := use(t, session, "report_progress", map[string]any{"message": "Half of the tills were looked at."}); failed {
		t.Errorf("report_progress: %s", text)
	}
	checkApproval(t, session)
	checkCaller(t, s.tools(t, created.TaskID, s.Token()))
	touch(t, s.note("tools"))
	s.awaitStatus(t, created.TaskID, api.TaskStatusSucceeded)

	events := s.pages(t, created.TaskID)
	said := slices.IndexFunc(events, func(e api.TaskEvent) bool { return strings.Contains(string(e.Content), "[redacted]") })
	if len(events) != 2 || said != 0 || events[0].EventType != api.EventTypeProgress || strings.Contains(string(events[0].Content), secret) {
		t.Errorf("events %+v", events)
	}
	next := s.submit(t, shell("Anything.", "true"))
	eventually(t, "the lesson is found by another task", func() bool {
		text, _ := use(t, s.tools(t, next.TaskID, s.Token()), "search_memory", map[string]any{"text": "till memory evening"})
		return strings.Contains(text, "> The till needs 512Mi") && strings.Contains(text, created.TaskID.String())
	})
}

// checkApproval asks for an approval, twice, which is asked for once.
func checkApproval(t *testing.T, session *mcp.ClientSession) {
	t.Helper()
	action := map[string]any{"action": "get", "resources": []map[string]any{
		{"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "limits"},
		{"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "limits"},
	}}
	for range 2 {
		text, failed := use(t, session, "request_approval", action)
		var answer api.ActionResults
		if failed || json.Unmarshal([]byte(text), &answer) != nil || len(answer.Results) != 2 ||
			answer.Results[0].Outcome != api.ActionOutcomeAwaitingApproval || answer.Results[0].ApprovalID == nil ||
			answer.Results[1].Outcome != api.ActionOutcomeRefused {
			t.Fatalf("request_approval: %s", text)
		}
	}
	text, failed := use(t, session, "request_approval", map[string]any{"action": "burn", "resources": action["resources"]})
	if !failed || !strings.Contains(text, "/action") {
		t.Errorf("an action that there is not: %s", text)
	}
	text, _ = use(t, session, "read_task", nil)
	var task struct {
		Approvals []struct{ Description string }
	}
	if json.Unmarshal([]byte(text), &task) != nil || len(task.Approvals) != 1 || !strings.Contains(task.Approvals[0].Description, "ConfigMap shop/limits") {
		t.Errorf("read_task: %s", text)
	}
}

// checkCaller tries what only the task itself may with a caller's token.
func checkCaller(t *testing.T, session *mcp.ClientSession) {
	t.Helper()
	for tool, arguments := range map[string]any{
		"record_lesson":   map[string]any{"lesson": "A lesson of somebody who does not work on it."},
		"report_progress": map[string]any{"message": "Nothing was done."},
		"request_approval": map[string]any{"action": "get", "resources": []map[string]any{
			{"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "limits"},
		}},
	} {
		if text, failed := use(t, session, tool, arguments); !failed || !strings.HasPrefix(text, "Not allowed: ") {
			t.Errorf("%s by a caller: %s", tool, text)
		}
	}
}
