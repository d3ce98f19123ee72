package problem

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Kind is a kind of error with its status. Kinds are errors themselves, so that
// errors.Is(err, problem.ErrNotFound) tells them apart.
type Kind struct {
	slug   string
	title  string
	status int
	// retried is whether waiting and sending the same request again may help.
	retried bool
}

// The kinds: the whole product's table of error to status.
var (
	ErrBadRequest           = &Kind{"bad-request", "Bad request", http.StatusBadRequest, false}
	ErrUnauthenticated      = &Kind{"unauthenticated", "Not authenticated", http.StatusUnauthorized, false}
	ErrForbidden            = &Kind{"forbidden", "Not allowed", http.StatusForbidden, false}
	ErrNotFound             = &Kind{"not-found", "Not found", http.StatusNotFound, false}
	ErrMethodNotAllowed     = &Kind{"method-not-allowed", "Method not allowed", http.StatusMethodNotAllowed, false}
	ErrNotAcceptable        = &Kind{"not-acceptable", "Not acceptable", http.StatusNotAcceptable, false}
	ErrConflict             = &Kind{"conflict", "Conflict", http.StatusConflict, false}
	ErrGone                 = &Kind{"gone", "Gone", http.StatusGone, false}
	ErrTooLarge             = &Kind{"too-large", "Body too large", http.StatusRequestEntityTooLarge, false}
	ErrUnsupportedMediaType = &Kind{"unsupported-media-type", "Unsupported media type", http.StatusUnsupportedMediaType, false}
	ErrInvalid              = &Kind{"invalid", "Not valid", http.StatusUnprocessableEntity, false}
	ErrRateLimited          = &Kind{"rate-limited", "Too many requests", http.StatusTooManyRequests, true}
	ErrInternal             = &Kind{"internal", "Internal error", http.StatusInternalServerError, true}
	ErrUnavailable          = &Kind{"unavailable", "Unavailable", http.StatusServiceUnavailable, true}
)

// Error is the kind's title.
func (k *Kind) Error() string { return k.title }

// URN is the kind's stable type, urn:graf:problem:<slug>.
func (k *Kind) URN() string { return "urn:graf:problem:" + k.slug }

// With is an error of this kind whose detail the client is shown, so it must
// hold nothing secret and nothing internal.
func (k *Kind) With(format string, args ...any) *Error {
	return &Error{kind: k, detail: fmt.Sprintf(format, args...)}
}

// Fields is an error of this kind that names each bad field.
func (k *Kind) Fields(fields ...FieldError) *Error {
	fault := "valid"
	if k == ErrForbidden {
		fault = "allowed"
	}
	detail := "1 field is not " + fault + "."
	if len(fields) != 1 {
		detail = fmt.Sprintf("%d fields are not %s.", len(fields), fault)
	}
	return &Error{kind: k, detail: detail, fields: fields}
}

// Error is an error of a kind with what the client is told of it.
type Error struct {
	kind       *Kind
	detail     string
	fields     []FieldError
	retryAfter time.Duration
	cause      error
}

// Error is the title, the detail, each field and the cause; for logs.
func (e *Error) Error() string {
	text := e.kind.title + ": " + e.detail
	for _, field := range e.fields {
		text += fmt.Sprintf(" [%s%s: %s]", field.Pointer, field.Parameter, field.Detail)
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap is the kind and, if there is one, the cause.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

// RetryAfter is a copy of e that asks the client to wait for wait before it
// tries again; rounded up to whole seconds, at least one.
func (e *Error) RetryAfter(wait time.Duration) *Error {
	later := *e
	later.retryAfter = max(wait, time.Second)
	return &later
}

// Because is a copy of e with the cause, which is logged but not shown.
func (e *Error) Because(cause error) *Error {
	caused := *e
	caused.cause = cause
	return &caused
}

// FieldErrors is what err says of each bad field, nil if it names none.
func FieldErrors(err error) []FieldError {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.fields
	}
	return nil
}

// Status is the HTTP status of err, 500 for what is of no kind.
func Status(err error) int { return kindOf(err).status }

// DeliveryStatus is the status for a CloudEvent whose handling ended with err:
// 200 for nil; 429, 500 or 503 where the Broker is to send it again; and for
// what no retry can mend a status that Knative's dispatcher dead-letters at
// once. It sends 404, 408 and 409 again, so those kinds become 422 here.
func DeliveryStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	kind := kindOf(err)
	switch kind.status {
	case http.StatusNotFound, http.StatusConflict, http.StatusNotImplemented:
		return http.StatusUnprocessableEntity
	default:
		return kind.status
	}
}

// Retried says whether sending the same request again later may help.
func Retried(err error) bool { return kindOf(err).retried }

// kindOf finds err's kind. A request that ran out of time is unavailable
// rather than a fault: whatever it waited for was slow.
func kindOf(err error) *Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.kind
	}
	if kind, ok := errors.AsType[*Kind](err); ok {
		return kind
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return ErrTooLarge
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return ErrUnavailable
	}
	return ErrInternal
}
