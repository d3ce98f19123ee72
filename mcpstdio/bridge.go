// Package mcpstdio serves by the Model Context Protocol's stdio transport what
// Graf's memory function serves by HTTP, so that a client that only starts programs
// has the same tools, with the same token and the same limits. It knows no tool: it
// passes messages on.
package mcpstdio

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// maxConcurrent bounds the requests under way; more wait.
	maxConcurrent = 16
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 32 << 20
	// postTimeout bounds the way to an answer, for which the server has 25 s of its own: a
	// peer that never answers holds nobody up.
	postTimeout = time.Minute
)

// Bridge passes messages on to a server.
type Bridge struct {
	// URL is the server's: …/v1/codex/tasks/{taskId}/mcp.
	URL string
	// Token is the task's own, or a caller's.
	Token string
	// Client makes the requests; nil is one of the bridge's own.
	Client *http.Client
}

// Run serves client, which [mcp.StdioTransport] is in a program, until it goes away,
// which is no error, or ctx ends.
func (b *Bridge) Run(ctx context.Context, client mcp.Transport) error {
	connection, err := client.Connect(ctx)
	if err != nil {
		return fmt.Errorf("mcpstdio: %w", err)
	}
	defer func() { _ = connection.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	defer stop()
	s := &session{bridge: b, connection: connection, calls: map[jsonrpc.ID]context.CancelFunc{}, free: make(chan struct{}, maxConcurrent)}
	defer s.wait.Wait()
	for {
		message, err := connection.Read(ctx)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, mcp.ErrConnectionClosed):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("mcpstdio: %w", err)
		}
		if request, ok := message.(*jsonrpc.Request); ok {
			s.take(ctx, request)
		}
	}
}

// session is a client while it is there.
type session struct {
	bridge     *Bridge
	connection mcp.Connection
	wait       sync.WaitGroup
	free       chan struct{}

	mu sync.Mutex
	// version is that of the protocol which client and server agreed on.
	version string
	// calls can be cancelled, by their ids.
	calls map[jsonrpc.ID]context.CancelFunc
}

// take passes a message on without waiting for its answer.
func (s *session) take(ctx context.Context, request *jsonrpc.Request) {
	if request.Method == "notifications/cancelled" {
		s.cancel(request)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	if request.IsCall() {
		s.calls[request.ID] = cancel
	}
	s.mu.Unlock()
	pass := func() {
		defer s.forget(request.ID, cancel)
		answer := s.bridge.pass(ctx, request, s.agreed())
		if !request.IsCall() || ctx.Err() != nil {
			return // Nobody waits for an answer.
		}
		s.agree(request, answer)
		// A client that cannot be written to has gone away, which Run sees.
		_ = s.connection.Write(context.WithoutCancel(ctx), answer)
	}
	// What others depend on comes first: a session is not used before it is made.
	if request.Method == "initialize" {
		pass()
		return
	}
	s.wait.Go(func() {
		s.free <- struct{}{}
		defer func() { <-s.free }()
		pass()
	})
}

// cancel ends a request whose client does not wait for it any more; the server sees
// that by its connection.
func (s *session) cancel(request *jsonrpc.Request) {
	var params struct {
		RequestID any `json:"requestId"`
	}
	if json.Unmarshal(request.Params, &params) != nil {
		return
	}
	id, err := jsonrpc.MakeID(params.RequestID)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.calls[id]; cancel != nil {
		cancel()
	}
}

func (s *session) forget(id jsonrpc.ID, cancel context.CancelFunc) {
	cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, id)
}

func (s *session) agreed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// agree notes the version that the server answered with.
func (s *session) agree(request *jsonrpc.Request, answer *jsonrpc.Response) {
	var result struct {
		ProtocolVersion string `json:"protocolVersion"`
	}
	if request.Method != "initialize" || json.Unmarshal(answer.Result, &result) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = result.ProtocolVersion
}

// pass sends a message and gives its answer, which is an error if there is none.
func (b *Bridge) pass(ctx context.Context, message *jsonrpc.Request, version string) *jsonrpc.Response {
	answer, err := b.post(ctx, message, version)
	if err == nil {
		return answer
	}
	var refused *jsonrpc.Error
	if !errors.As(err, &refused) {
		refused = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "Graf does not answer: " + err.Error()}
	}
	return &jsonrpc.Response{ID: message.ID, Error: refused}
}

func (b *Bridge) post(ctx context.Context, message *jsonrpc.Request, version string) (*jsonrpc.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	body, err := jsonrpc.EncodeMessage(message)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	request.Header.Set("Authorization", "Bearer "+b.Token)
	setHeaders(request.Header, message, version)
	answer, err := b.client().Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	return read(answer, data)
}

// setHeaders repeats for HTTP what the message says, as the protocol asks for: the
// version that was agreed on, or that newer clients give with each message, and of
// these the method and the name, too.
func setHeaders(header http.Header, message *jsonrpc.Request, version string) {
	var params struct {
		Name string `json:"name"`
		URI  string `json:"uri"`
		Meta struct {
			Version string `json:"io.modelcontextprotocol/protocolVersion"`
		} `json:"_meta"`
	}
	if json.Unmarshal(message.Params, &params) == nil && params.Meta.Version != "" {
		version = params.Meta.Version
		header.Set("Mcp-Method", message.Method)
		if name := cmp.Or(params.Name, params.URI); name != "" {
			header.Set("Mcp-Name", name)
		}
	}
	if version != "" {
		header.Set("Mcp-Protocol-Version", version)
	}
}

// client does not follow redirects: a token goes where it is meant to, and nowhere else.
func (b *Bridge) client() *http.Client {
	if b.Client != nil {
		return b.Client
	}
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// read is the answer of the server: a message of its own, nothing, or a problem
// document, which becomes an error with the document as its data.
func read(answer *http.Response, data []byte) (*jsonrpc.Response, error) {
	if message, err := jsonrpc.DecodeMessage(data); err == nil {
		if response, ok := message.(*jsonrpc.Response); ok {
			return response, nil
		}
	}
	if answer.StatusCode == http.StatusAccepted {
		return &jsonrpc.Response{}, nil
	}
	var problem struct{ Title, Detail string }
	if json.Unmarshal(data, &problem) != nil || problem.Detail == "" {
		return nil, fmt.Errorf("status %d", answer.StatusCode)
	}
	code := int64(jsonrpc.CodeInvalidRequest)
	if answer.StatusCode >= http.StatusInternalServerError {
		code = jsonrpc.CodeInternalError
	}
	return nil, &jsonrpc.Error{Code: code, Message: strings.TrimSpace(problem.Title + ": " + problem.Detail), Data: data}
}
