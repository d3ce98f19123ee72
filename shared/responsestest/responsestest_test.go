package responsestest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/codextest"
	"github.com/graf-run/graf/shared/responsestest"
)

// The real Codex CLI takes the server for the model: it runs the commands, waits
// out a refusal, and counts the tokens.
func TestCodexFollowsTheScript(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "note")
	model := responsestest.New(t,
		responsestest.RateLimited(time.Second),
		responsestest.Executes("echo written by codex | tee "+file),
		responsestest.Says("It is written.").Slowly(200*time.Millisecond).Uses(responsestest.Usage{Input: 1000, Cached: 900, Output: 50, Reasoning: 40}),
	)
	run := codextest.Exec(t, codextest.Home(t, model.URL, ""), "Write a note.", "OPENAI_API_KEY=sk-scripted")
	if run.ExitCode != 0 || model.Left() != 0 {
		t.Fatalf("%d turns left, %s", model.Left(), run.Text())
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "written by codex\n" {
		t.Errorf("%q, %v", text, err)
	}
	requests := model.Requests()
	last := requests[len(requests)-1]
	if last.Authorization != "Bearer sk-scripted" || !strings.Contains(strings.Join(last.Outputs(), ""), "written by codex") {
		t.Errorf("the last request is by %q, with outputs %q", last.Authorization, last.Outputs())
	}
	end := slices.IndexFunc(run.Events, func(e codextest.Event) bool { return e.Type == "turn.completed" })
	if end < 0 || !strings.Contains(run.Events[end].Line, `"input_tokens":1100`) || !strings.Contains(run.Events[end].Line, `"reasoning_output_tokens":40`) {
		t.Errorf("usage is not as scripted: %s", run.Text())
	}
}

func TestCodexIsRefused(t *testing.T) {
	t.Parallel()
	model := responsestest.New(t, responsestest.Unauthorized().Always())
	run := codextest.Exec(t, codextest.Home(t, model.URL, ""), "Hello.", "OPENAI_API_KEY=sk-scripted")
	if run.ExitCode == 0 || !strings.Contains(run.Text(), "invalid_api_key") && !strings.Contains(run.Text(), "401") {
		t.Errorf("%s", run.Text())
	}
}
