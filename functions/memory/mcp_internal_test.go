package memory

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/graf-run/graf/shared/memory"
)

// A tool that panics is answered for, and the process goes on.
func TestMCPPanic(t *testing.T) {
	t.Parallel()
	serve := bounded(func(context.Context, string, mcp.Request) (mcp.Result, error) { panic("out of luck") })
	result, err := serve(t.Context(), "tools/call", nil)
	refused, ok := errors.AsType[*jsonrpc.Error](err)
	if !ok || refused.Code != jsonrpc.CodeInternalError || strings.Contains(refused.Message, "luck") || result != nil {
		t.Errorf("got %v, %v", result, err)
	}
}

// An agent is told how was searched, whether or not something was found.
func TestRecollection(t *testing.T) {
	t.Parallel()
	hit := memory.Hit{MemoryID: uuid.Max, TaskID: uuid.Max, Content: "Twice its request is enough."}
	for name, test := range map[string]struct {
		results memory.Results
		says    []string
		not     string
	}{
		"nothing":                 {memory.Results{}, []string{"No memory"}, "text alone"},
		"nothing, model away":     {memory.Results{Reason: "no vector"}, []string{"No memory", "by text alone: no vector."}, "> "},
		"something":               {memory.Results{Hits: []memory.Hit{hit}}, []string{"> Twice"}, "text alone"},
		"something, model away":   {memory.Results{Hits: []memory.Hit{hit}, Reason: "no vector"}, []string{"> Twice", "by text alone: no vector."}, "No memory"},
		"too much for one answer": {memory.Results{Hits: []memory.Hit{{Content: strings.Repeat("x", maxRecalledBytes+1)}}}, []string{"1 more were found"}, "No memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := recollection(test.results)
			for _, part := range test.says {
				if !strings.Contains(got, part) {
					t.Errorf("%q is not in %q", part, got)
				}
			}
			if strings.Contains(got, test.not) {
				t.Errorf("%q is in %q", test.not, got)
			}
		})
	}
}
