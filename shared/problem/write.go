package problem

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"
)

// RequestIDHeader carries the id of a request, in and out.
const RequestIDHeader = "X-Request-Id"

// defaultRetryAfter is what a client is asked to wait when the store that
// failed does not say.
const defaultRetryAfter = 5 * time.Second

// Of is the document for err. What is of no kind, and what is an internal
// error, shows nothing of its text.
func Of(err error) Problem {
	kind := kindOf(err)
	doc := Problem{Type: kind.URN(), Title: kind.title, Status: kind.status}
	if e, ok := errors.AsType[*Error](err); ok {
		doc.Detail, doc.Errors = e.detail, e.fields
		return doc
	}
	switch kind {
	case ErrInternal:
		doc.Detail = "The request failed for a reason of ours; the log has it under the id in instance."
	case ErrUnavailable:
		doc.Detail = "A service that this needs did not answer in time; try again later."
	case ErrTooLarge:
		doc.Detail = "The body is larger than this operation takes."
	}
	return doc
}

// Write answers the request with err as a problem document and logs what is
// our own fault. Nothing may have been written to w before.
func Write(w http.ResponseWriter, r *http.Request, err error) {
	WriteStatus(w, r, err, Status(err))
}

// WriteStatus is Write with a status of the caller's choosing.
func WriteStatus(w http.ResponseWriter, r *http.Request, err error, status int) {
	write(w, r, err, answer(w, err, status))
}

// answer is the document for err as an answer to this request.
func answer(w http.ResponseWriter, err error, status int) Problem {
	doc := Of(err)
	doc.Status = status
	if id := w.Header().Get(RequestIDHeader); id != "" {
		doc.Instance = "urn:graf:request:" + id
	}
	return doc
}

func write(w http.ResponseWriter, r *http.Request, err error, doc Problem) {
	logFault(r, err, doc)
	header := w.Header()
	if seconds, ok := retryAfter(err); ok {
		header.Set("Retry-After", strconv.Itoa(seconds))
	}
	if doc.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `Bearer realm="graf"`)
	}
	header.Set("Content-Type", ContentType)
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(doc.Status)
	if err := json.NewEncoder(w).Encode(doc); err != nil {
		slog.DebugContext(r.Context(), "problem: the client went away", "error", err)
	}
}

// logFault logs 5xx answers. A client that hung up is no fault.
func logFault(r *http.Request, err error, doc Problem) {
	if doc.Status < http.StatusInternalServerError {
		return
	}
	slog.LogAttrs(r.Context(), levelOf(r, err), "request failed",
		slog.String("error", err.Error()),
		slog.Int("status", doc.Status),
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.String("instance", doc.Instance))
}

// levelOf is how bad a 5xx answer is.
func levelOf(r *http.Request, err error) slog.Level {
	switch {
	case errors.Is(r.Context().Err(), context.Canceled):
		return slog.LevelInfo
	case errors.Is(err, ErrUnavailable): // said on purpose, as of a feature that is switched off
		return slog.LevelWarn
	}
	return slog.LevelError
}

// retryAfter is the seconds to wait before trying again, if waiting helps.
func retryAfter(err error) (int, bool) {
	if e, ok := errors.AsType[*Error](err); ok && e.retryAfter > 0 {
		return int(math.Ceil(e.retryAfter.Seconds())), true
	}
	switch kindOf(err) {
	case ErrRateLimited, ErrUnavailable:
		return int(defaultRetryAfter / time.Second), true
	default:
		return 0, false
	}
}
