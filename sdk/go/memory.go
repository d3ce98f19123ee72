package graf

import (
	"context"

	"github.com/google/uuid"
)

// SearchMemory finds what tasks learned that fits a text or a vector, best first,
// over all tasks; for callers.
func (c *Client) SearchMemory(ctx context.Context, search MemorySearch) (MemoryResults, error) {
	var results MemoryResults
	return results, c.do(ctx, call{operation: operationQueryMemory, body: search}, &results)
}

// Memory is one memory in full.
func (c *Client) Memory(ctx context.Context, id uuid.UUID) (Memory, error) {
	var memory Memory
	return memory, c.do(ctx, call{operation: operationGetMemory, arguments: []any{id}}, &memory)
}

// ForgetMemory makes Graf forget one memory, for good. Forgetting it twice is no
// error; who may not gets ErrForbidden.
func (c *Client) ForgetMemory(ctx context.Context, id uuid.UUID) error {
	return c.do(ctx, call{operation: operationForgetMemory, arguments: []any{id}}, nil)
}

// TaskMemory is what earlier tasks learned that fits the task's prompt, best first;
// for its agent, too.
func (c *Client) TaskMemory(ctx context.Context, task uuid.UUID, params ListTaskMemoryParams) (MemoryResults, error) {
	var results MemoryResults
	return results, c.do(ctx, call{operation: operationListTaskMemory, arguments: []any{task}, query: encode(params)}, &results)
}

// QueryTaskMemory is what earlier tasks learned that fits a text or a vector, best
// first; for the task's agent, too.
func (c *Client) QueryTaskMemory(ctx context.Context, task uuid.UUID, query MemoryQuery) (MemoryResults, error) {
	var results MemoryResults
	return results, c.do(ctx, call{operation: operationQueryTaskMemory, arguments: []any{task}, body: query}, &results)
}

// ToolsURL is where a task's tools are served by the Model Context Protocol
// (streamable HTTP), with the client's token as bearer token.
func (c *Client) ToolsURL(task uuid.UUID) string {
	return c.urls[memoryFunction] + "/v1/codex/tasks/" + task.String() + "/mcp"
}
