package memory

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/problem"
)

// exchange is one request of the Model Context Protocol: whom it is from and what about.
type exchange struct {
	// gone is closed when the HTTP request has ended, for instance as its client went away.
	gone      <-chan struct{}
	task      uuid.UUID
	holder    auth.Holder
	token     string
	requestID string
}

type exchangeKey struct{}

// exchangeOf is the exchange that a tool is called in.
func exchangeOf(ctx context.Context) exchange {
	x, _ := ctx.Value(exchangeKey{}).(exchange)
	return x
}

// exchangeMCP takes a message of the Model Context Protocol.
func (h *handler) exchangeMCP(w http.ResponseWriter, r *http.Request, task uuid.UUID, holder auth.Holder) error {
	if err := h.validator.Parameters(r, api.OperationPostTaskMCP, nil); err != nil {
		return err
	}
	token, err := auth.Bearer(r)
	if err != nil {
		return err
	}
	if !holder.ByTask { // A token of a task tells that there is one.
		if err := h.tasks.Exists(r.Context(), task); err != nil {
			return err
		}
	}
	var message json.RawMessage
	if err := h.validator.DecodeBody(r, api.OperationPostTaskMCP, api.MaxMCPBytes, &message); err != nil {
		return err
	}
	x := exchange{gone: r.Context().Done(), task: task, holder: holder, token: token, requestID: w.Header().Get(problem.RequestIDHeader)}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	r.Body = io.NopCloser(bytes.NewReader(message))
	w.Header().Set("Cache-Control", "no-store")
	h.mcp.ServeHTTP(&plainErrors{ResponseWriter: w, request: r}, r)
	return nil
}

// plainErrors turns the SDK's errors, which are plain text, into problem documents.
type plainErrors struct {
	http.ResponseWriter
	request *http.Request
	status  int // of the error that is being written; 0: none is
}

// WriteHeader holds back the status of an error until its text is known.
func (w *plainErrors) WriteHeader(status int) {
	if status >= http.StatusBadRequest && strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		w.status = status
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write answers with the problem, which the SDK writes at once.
func (w *plainErrors) Write(text []byte) (int, error) {
	if w.status == 0 {
		return w.ResponseWriter.Write(text)
	}
	err := problem.ErrBadRequest.With("%s.", bytes.TrimSpace(text))
	if w.status >= http.StatusInternalServerError {
		err = problem.ErrInternal.With("The request failed for a reason of ours.")
	}
	problem.WriteStatus(w.ResponseWriter, w.request, err, w.status)
	w.status = 0
	return len(text), nil
}

// Unwrap lets http.ResponseController flush.
func (w *plainErrors) Unwrap() http.ResponseWriter { return w.ResponseWriter }
