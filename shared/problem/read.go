package problem

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxDocument bounds the problem document that is read of an answer, in bytes.
const maxDocument = 256 << 10

var kinds = []*Kind{
	ErrBadRequest, ErrUnauthenticated, ErrForbidden, ErrNotFound, ErrMethodNotAllowed, ErrNotAcceptable, ErrConflict, ErrGone,
	ErrTooLarge, ErrUnsupportedMediaType, ErrInvalid, ErrRateLimited, ErrInternal, ErrUnavailable,
}

// Read is the error that another function answered with, to be passed on as our
// own: its kind, detail, fields and wait. What is no problem document is of the
// kind with that status, or ErrUnavailable, with no detail of it.
func Read(answer *http.Response) error {
	kind := ErrUnavailable
	for _, k := range kinds {
		if k.status == answer.StatusCode {
			kind = k
		}
	}
	var doc Problem
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxDocument))
	if err != nil || json.Unmarshal(data, &doc) != nil || doc.Detail == "" {
		return kind.With("The request was answered with status %d.", answer.StatusCode)
	}
	e := kind.With("%s", doc.Detail)
	e.fields = doc.Errors
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e = e.RetryAfter(time.Duration(seconds) * time.Second)
	}
	return e
}
