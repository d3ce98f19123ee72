package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzRead gives agents lines that they would not write. Whatever they are, events can be encoded, are of known types,
// and have texts that are bounded.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/claude/*.jsonl")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f.Add(line)
		}
	}
	for _, line := range []string{
		`{"type":"thread.started","thread_id":"x"}`, `{"type":"turn.completed","usage":{"input_tokens":-1,"output_tokens":1e3}}`,
		`{"type":"turn.failed","error":{"message":"429, try again in 99999999999999 hours"}}`, `{"type":"error","message":"x"}`,
		`{"type":"item.completed","item":{"type":"command_execution","command":"a","exit_code":1}}`, `{"type":"result","usage":{"input_tokens":9223372036854775807,"cache_read_input_tokens":9223372036854775807},"total_cost_usd":-1}`,
		`{"type":"system","subtype":"api_retry","retry_delay_ms":1e300,"error":{"message":"x"}}`, `{"type":"assistant","message":{"id":"a","usage":{"input_tokens":9223372036854775807}}}`,
		`{"type":"result","model_usage_since_last_result":{"a":{"inputTokens":1e12,"costUSD":1e6},"b":{"inputTokens":1e12,"costUSD":1e6}}}`,
		`{"type":`, `null`, `[]`, `"x"`,
		`{"type":"item.completed","item":{"type":"file_change","changes":[{"path":"a","kind":"add"}]}}`, "plain", "",
		`{"type":"item.completed","item":{"type":"mcp_tool_call","error":{"message":"no"}}}`,
		`{"payload":{"type":"token_count","info":{"total_token_usage":{"input_tokens":5}}}}`,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for _, kind := range Kinds() {
			program, err := New(kind)
			if err != nil {
				t.Fatal(err)
			}
			reports := program.Read(line)
			if keeper, keeps := program.(SessionKeeper); keeps {
				reports = append(reports, keeper.ReadSession(line)...)
				keeper.SessionFile(func(string) string { return "/no/such/folder" }, line)
			}
			for _, report := range reports {
				check(t, kind, report)
			}
		}
	})
}

func check(t *testing.T, kind string, report Report) {
	t.Helper()
	if report.Type != "" && report.Type != Progress && report.Type != Log {
		t.Errorf("%s: event type %q", kind, report.Type)
	}
	if _, err := json.Marshal(report.Content); err != nil {
		t.Errorf("%s: %v", kind, err)
	}
	if len(report.Summary) > 2*maxText {
		t.Errorf("%s: a summary of %d bytes", kind, len(report.Summary))
	}
	if u := report.Usage; u != nil && *u != u.bounded() {
		t.Errorf("%s: usage %+v", kind, *u)
	}
	if report.Failure != nil && (report.Failure.RetryAfter < 0 || report.Failure.RetryAfter > maxWait) {
		t.Errorf("%s: wait %v", kind, report.Failure.RetryAfter)
	}
}
