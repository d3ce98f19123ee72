package memory_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/codextest"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/responsestest"
	"github.com/graf-run/graf/shared/tasktest"
)

// The real Codex CLI finds in memory, by a tool of its MCP server, what an earlier
// task learned, and gives it to the model.
func TestCodexSearchesMemory(t *testing.T) {
	t.Parallel()
	w := setup(t)
	task := tasktest.Running(t, w.db, tasktest.Task{Prompt: prompt}).ID
	source := w.learn(learned, memory.Task{})
	token := w.token(task)
	for name, server := range map[string]string{
		"http": fmt.Sprintf("[mcp_servers.graf]\nurl = %q\nbearer_token_env_var = \"GRAF_CALLBACK_TOKEN\"\n", w.mcpURL(task)),
		"stdio": fmt.Sprintf("[mcp_servers.graf]\ncommand = %q\nenv_vars = [%q]\n[mcp_servers.graf.env]\n%s = %q\n",
			os.Args[0], bridgeToken, bridgeURL, w.mcpURL(task)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := responsestest.New(t,
				responsestest.CallsMCP("graf", "search_memory", map[string]any{"text": "the ingress"}),
				responsestest.CallsMCP("graf", "search_memory", map[string]any{"text": ""}),
				responsestest.Says("Three replicas, then."),
			)
			run := codextest.Exec(t, codextest.Home(t, model.URL, server), "How many replicas?",
				"OPENAI_API_KEY=sk-scripted", "GRAF_CALLBACK_TOKEN="+token, bridgeToken+"="+token)
			if run.ExitCode != 0 || model.Left() != 0 {
				t.Fatalf("%d turns left, %s", model.Left(), run.Text())
			}
			requests := model.Requests()
			outputs := requests[len(requests)-1].Outputs()
			if len(outputs) != 2 || !strings.Contains(outputs[0], "> "+learned) || !strings.Contains(outputs[0], source.String()) ||
				!strings.Contains(outputs[0], memory.QuoteNotice) || !strings.Contains(outputs[1], "/text") {
				t.Errorf("the model was given %q\n%s", outputs, run.Text())
			}
			if strings.Contains(run.Text(), token) {
				t.Error("the token is in what Codex printed")
			}
		})
	}
}
