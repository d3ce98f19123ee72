package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	graf "github.com/graf-run/graf/sdk/go"
)

// patience bounds a wait.
const patience = 90 * time.Second

// served connects a client of the Model Context Protocol to graf mcp, which it starts.
func served(t *testing.T, environment []string, arguments ...string) *mcp.ClientSession {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	command := exec.CommandContext(ctx, "graf", append([]string{"mcp"}, arguments...)...) // this program, see TestMain
	command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, environment...)
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(ctx, &mcp.CommandTransport{Command: command}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

// use calls a tool; its text is the answer, or what is wrong with the call.
func use(t *testing.T, session *mcp.ClientSession, tool string, arguments any) (text string, failed bool) {
	t.Helper()
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	for _, content := range result.Content {
		if part, ok := content.(*mcp.TextContent); ok {
			text += part.Text
		}
	}
	return text, result.IsError
}

// submitted is a task whose agent waits, and which is running.
func submitted(t *testing.T) (*graf.Client, graf.TaskCreated) {
	t.Helper()
	client, err := graf.New(graf.OptionsFromEnvironment())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	created, err := client.Submit(ctx, graf.TaskSubmission{
		Prompt: "Wait for whoever uses your tools.", Agent: graf.Agent{Kind: graf.AgentKindCommand, Command: []string{"sleep", "600"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for ; ; time.Sleep(20 * time.Millisecond) {
		task, err := client.Task(ctx, created.TaskID)
		if err != nil {
			t.Fatal(err)
		}
		if task.Status == graf.TaskStatusRunning {
			return client, created
		}
	}
}

// A task's agent has its tools by the variables that it was started with, and what it
// records is the task's.
func TestToolsOfAnAgent(t *testing.T) {
	t.Parallel()
	client, created := submitted(t)
	session := served(t, []string{"GRAF_MEMORY_URL=" + created.MemoryEndpoint.URL, "GRAF_CALLBACK_TOKEN=" + created.Callback.Token})
	tools, err := session.ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) < 5 {
		t.Fatalf("the tools are %+v, %v", tools, err)
	}
	text, failed := use(t, session, "read_task", nil)
	var task struct{ TaskID, Status string }
	if failed || json.Unmarshal([]byte(text), &task) != nil || task.TaskID != created.TaskID.String() || task.Status != "running" {
		t.Errorf("read_task: %s", text)
	}
	const lesson = "Whoever waits for a tool learns that it takes its time."
	if text, failed := use(t, session, "record_lesson", map[string]any{"lesson": lesson}); failed {
		t.Errorf("record_lesson: %s", text)
	}
	if text, failed := use(t, session, "record_lesson", map[string]any{"lesson": "short"}); !failed || !strings.Contains(text, "/lesson") {
		t.Errorf("a short lesson: %s", text)
	}
	page, err := client.EventPage(t.Context(), created.TaskID, graf.ListTaskEventsParams{})
	if err != nil || !slices.ContainsFunc(page.Events, func(e graf.TaskEvent) bool { return eventText(e) == "Lesson: "+lesson }) {
		t.Errorf("the events are %+v, %v", page.Events, err)
	}
	if _, err := client.Cancel(t.Context(), created.TaskID, "done"); err != nil {
		t.Fatal(err)
	}
}

// A caller has the tools that only read.
func TestToolsOfACaller(t *testing.T) {
	t.Parallel()
	client, created := submitted(t)
	session := served(t, []string{"GRAF_URL=" + os.Getenv("GRAF_URL"), "GRAF_TOKEN=" + os.Getenv("GRAF_TOKEN")}, created.TaskID.String())
	if text, failed := use(t, session, "search_memory", map[string]any{"text": "tools"}); failed {
		t.Errorf("search_memory: %s", text)
	}
	if text, failed := use(t, session, "report_progress", map[string]any{"message": "Nothing."}); !failed || !strings.HasPrefix(text, "Not allowed") {
		t.Errorf("report_progress: %s", text)
	}
	resource, err := session.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "graf://tasks/" + created.TaskID.String()})
	if err != nil || !strings.Contains(resource.Contents[0].Text, "Wait for whoever") {
		t.Errorf("the task is %+v, %v", resource, err)
	}
	if _, err := client.Cancel(t.Context(), created.TaskID, "done"); err != nil {
		t.Fatal(err)
	}
}
