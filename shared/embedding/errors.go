package embedding

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	openai "github.com/openai/openai-go/v3"
)

var (
	// ErrUnavailable means that the texts have no vectors now, but may have
	// later: the provider is away, overloaded, answers nonsense, or refuses our
	// credentials, model or dimension, which is for an operator to mend.
	ErrUnavailable = errors.New("embeddings are unavailable")
	// ErrRejected means that the provider will never give one of the texts a
	// vector. Which one, only a call with each of them alone can tell.
	ErrRejected = errors.New("text rejected")
)

// Reasons of a failure: the values of the attribute reason of the metric
// graf_codex_embedding_failures_total.
const (
	ReasonNetwork     = "network"      // no response
	ReasonTimeout     = "timeout"      // no response in time
	ReasonRateLimited = "rate_limited" // 429
	ReasonServer      = "server"       // 5xx, 408 and 409
	ReasonConfigured  = "configured"   // credentials, model, dimension, address
	ReasonResponse    = "response"     // broken off, or not the JSON or count that was asked for
	ReasonText        = "text"         // the text itself
	ReasonCanceled    = "canceled"     // the caller gave up
)

// Error is what Embed returns. errors.Is finds ErrUnavailable or ErrRejected in
// it, and what caused it.
type Error struct {
	Reason string
	// Status is the provider's HTTP status, 0 if there was none.
	Status int
	// RetryAfter is how long the provider asked us to wait, 0 if it did not.
	RetryAfter time.Duration
	kind       error
	cause      error
	repeat     bool // worth another call within Embed
}

// Error implements error. It holds no credentials.
func (e *Error) Error() string { return fmt.Sprintf("%v: %v", e.kind, e.cause) }

// Unwrap implements errors.Unwrap.
func (e *Error) Unwrap() []error { return []error{e.kind, e.cause} }

// rejected is a failure of the text itself.
func rejected(status int, cause error) *Error {
	return &Error{Reason: ReasonText, Status: status, kind: ErrRejected, cause: cause}
}

// unusable is an answer that is not what was asked for. It is worth another
// call: proxies and overloaded servers cut answers off.
func unusable(format string, args ...any) *Error {
	return &Error{Reason: ReasonResponse, kind: ErrUnavailable, cause: fmt.Errorf(format, args...), repeat: true}
}

// misconfigured is a failure that no repetition heals and no text is guilty of.
func misconfigured(status int, cause error) *Error {
	return &Error{Reason: ReasonConfigured, Status: status, kind: ErrUnavailable, cause: cause}
}

// classify turns the failure of one call into an Error. ctx is the caller's,
// without the call's timeout; response may be nil.
func classify(ctx context.Context, response *http.Response, err error) *Error {
	if ctx.Err() != nil {
		return &Error{Reason: ReasonCanceled, kind: ErrUnavailable, cause: context.Cause(ctx)}
	}
	if response != nil && response.StatusCode >= 400 {
		return classifyStatus(response, err)
	}
	e := &Error{Reason: ReasonNetwork, kind: ErrUnavailable, cause: err, repeat: true}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		e.Reason = ReasonTimeout
	case errors.As(err, &tooLarge):
		e = unusable("the response exceeds %d bytes", tooLarge.Limit)
	case response != nil:
		e.Reason, e.Status = ReasonResponse, response.StatusCode
	}
	return e
}

func classifyStatus(response *http.Response, err error) *Error {
	status := response.StatusCode
	cause := fmt.Errorf("the provider answered %d %s", status, http.StatusText(status))
	var api *openai.Error
	if errors.As(err, &api) && api.Message != "" {
		cause = fmt.Errorf("%w: %.300s", cause, api.Message)
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		// The provider's message may repeat the key.
		return misconfigured(status, fmt.Errorf("the provider answered %d: check OPENAI_API_KEY", status))
	case status == http.StatusNotFound:
		return misconfigured(status, fmt.Errorf("%w: check OPENAI_EMBEDDING_MODEL and OPENAI_BASE_URL", cause))
	case status == http.StatusTooManyRequests:
		return &Error{
			Reason: ReasonRateLimited, Status: status, RetryAfter: retryAfter(response.Header, time.Now()),
			kind: ErrUnavailable, cause: cause, repeat: true,
		}
	case status >= 500 || status == http.StatusRequestTimeout || status == http.StatusConflict:
		return &Error{
			Reason: ReasonServer, Status: status, RetryAfter: retryAfter(response.Header, time.Now()),
			kind: ErrUnavailable, cause: cause, repeat: true,
		}
	case blamesText(status, api):
		return rejected(status, cause)
	}
	return misconfigured(status, cause)
}

// blamesText tells a refused text from a refused request. Giving texts up
// because a key has expired would lose them, so in doubt it is not the text.
func blamesText(status int, api *openai.Error) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return api == nil || (api.Param != "model" && api.Param != "dimensions" && api.Param != "encoding_format")
	case http.StatusRequestEntityTooLarge:
		return true
	}
	return false
}
