package graf

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The kinds of refusals. A [*Problem] is of the kind that its status says, so
// errors.Is(err, graf.ErrNotFound) tells them apart.
var (
	// ErrInvalid is a request that is not valid; Problem.Errors has each bad field.
	ErrInvalid = errors.New("not valid")
	// ErrUnauthorized is no token, or one that is not known or no longer good.
	ErrUnauthorized = errors.New("not authenticated")
	// ErrForbidden is a good token that is not good for this.
	ErrForbidden = errors.New("not allowed")
	// ErrNotFound is a task, memory or other thing that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict is a state that does not allow it, such as that of a task that has ended.
	ErrConflict = errors.New("conflict")
	// ErrTooLarge is a body over its bound.
	ErrTooLarge = errors.New("too large")
	// ErrRateLimited is a caller over its rate; Problem.RetryAfter says how long to wait.
	ErrRateLimited = errors.New("too many requests")
	// ErrUnavailable is a fault on Graf's side or before it, that may pass.
	ErrUnavailable = errors.New("unavailable")
)

// ErrBrokenOff is an answer, a download or an event stream of which only the beginning came.
var ErrBrokenOff = errors.New("the answer broke off")

// Problem is Graf's refusal of a request: a problem document (RFC 9457), or what
// a proxy before Graf answered in its place.
type Problem struct {
	// Operation is what was asked, by its operationId in the OpenAPI document; of object
	// storage it is "upload of NAME" or "download of NAME".
	Operation string
	// Type is a URN, Title a short text for people, Status the HTTP status.
	Type, Title string
	Status      int
	// Detail says what is wrong, Instance has the id of the request, as in Graf's log.
	Detail, Instance string
	// Errors names each bad field.
	Errors []FieldError
	// RetryAfter is how long Graf asked to wait before another try, 0 if it did not.
	RetryAfter time.Duration
}

// Error is the title, the detail and each bad field.
func (p *Problem) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s (%d)", p.Operation, p.Title, p.Status)
	if p.Detail != "" {
		text.WriteString(": " + p.Detail)
	}
	for _, field := range p.Errors {
		fmt.Fprintf(&text, " [%s%s: %s]", field.Pointer, field.Parameter, field.Detail)
	}
	return text.String()
}

// Unwrap is the kind, nil for a status that has none.
func (p *Problem) Unwrap() error {
	switch p.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType:
		return ErrInvalid
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusForbidden:
		return ErrForbidden
	case http.StatusNotFound, http.StatusGone:
		return ErrNotFound
	case http.StatusConflict:
		return ErrConflict
	case http.StatusRequestEntityTooLarge:
		return ErrTooLarge
	case http.StatusTooManyRequests:
		return ErrRateLimited
	case http.StatusRequestTimeout:
		return ErrUnavailable
	}
	if p.Status >= http.StatusInternalServerError {
		return ErrUnavailable
	}
	return nil
}

// maxQuoted is how much of an answer that is no problem document is quoted, in bytes.
const maxQuoted = 512

// newProblem reads a refusal. What is no problem document comes from something
// between here and Graf; its text is kept as the detail, or where it redirects to.
func newProblem(operation string, response *http.Response, body []byte) *Problem {
	problem := &Problem{
		Operation: operation, Status: response.StatusCode, Title: http.StatusText(response.StatusCode),
		RetryAfter: retryAfter(response.Header.Get("Retry-After"), time.Now()),
	}
	if to, err := response.Location(); err == nil && response.StatusCode < http.StatusBadRequest {
		to.User, to.RawQuery, to.Fragment = nil, "", "" // they may be secrets
		problem.Detail = fmt.Sprintf("it redirects to %s, which is not followed; if that is the right address, use it", to)
		return problem
	}
	var document problemDocument
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if media != "application/problem+json" || json.Unmarshal(body, &document) != nil {
		text := strings.ToValidUTF8(string(body[:min(len(body), maxQuoted)]), "")
		problem.Detail = strings.TrimSpace(text)
		return problem
	}
	problem.Type, problem.Title, problem.Detail = document.Type, document.Title, document.Detail
	problem.Instance, problem.Errors = document.Instance, document.Errors
	return problem
}

// retryAfter reads the header (RFC 9110, section 10.2.3): seconds or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(min(seconds, int(24*time.Hour/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
