package problem_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/problem"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		err      error
		status   int
		delivery int
		retried  bool
	}{
		{"a fault", errors.New("dial tcp: refused"), 500, 500, true},
		{"a kind by itself", problem.ErrForbidden, 403, 403, false},
		{"a kind that is wrapped", fmt.Errorf("read task: %w", problem.ErrNotFound), 404, 422, false},
		{"an error that is wrapped", fmt.Errorf("post: %w", problem.ErrConflict.With("it ended")), 409, 422, false},
		{"the outer of two kinds", problem.ErrUnavailable.With("no database").Because(problem.ErrNotFound), 503, 503, true},
		{"out of time", fmt.Errorf("query: %w", context.DeadlineExceeded), 503, 503, true},
		{"net/http's own bound", fmt.Errorf("read: %w", &http.MaxBytesError{Limit: 1}), 413, 413, false},
		{"rate", problem.ErrRateLimited, 429, 429, true},
		{"fields", problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/a", Detail: "is required"}), 422, 422, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := problem.Status(test.err); got != test.status {
				t.Errorf("Status = %d, want %d", got, test.status)
			}
			if got := problem.DeliveryStatus(test.err); got != test.delivery {
				t.Errorf("DeliveryStatus = %d, want %d", got, test.delivery)
			}
			if got := problem.Retried(test.err); got != test.retried {
				t.Errorf("Retried = %t, want %t", got, test.retried)
			}
		})
	}
	if got := problem.DeliveryStatus(nil); got != 200 {
		t.Errorf("DeliveryStatus(nil) = %d, want 200", got)
	}
}

func write(t *testing.T, err error) (*httptest.ResponseRecorder, problem.Problem) {
	t.Helper()
	w := httptest.NewRecorder()
	w.Header().Set(problem.RequestIDHeader, "7")
	problem.Write(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), err)
	var doc problem.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatalf("body %q: %v", w.Body, err)
	}
	if got := w.Header().Get("Content-Type"); got != problem.ContentType {
		t.Errorf("Content-Type = %q", got)
	}
	if doc.Status != w.Code || doc.Instance != "urn:graf:request:7" {
		t.Errorf("status %d and document %+v disagree", w.Code, doc)
	}
	return w, doc
}

func TestWriteNamesEachField(t *testing.T) {
	t.Parallel()
	fields := []problem.FieldError{
		{Pointer: "/prompt", Detail: "is required"},
		{Parameter: "limit", Detail: "must be at most 9"},
	}
	if _, doc := write(t, problem.ErrForbidden.Fields(fields[0])); doc.Detail != "1 field is not allowed." {
		t.Errorf("detail = %q", doc.Detail)
	}
	_, doc := write(t, problem.ErrInvalid.Fields(fields...))
	if len(doc.Errors) != 2 || doc.Errors[0] != fields[0] || doc.Errors[1] != fields[1] {
		t.Errorf("errors = %+v, want %+v", doc.Errors, fields)
	}
	if doc.Type != "urn:graf:problem:invalid" || doc.Detail != "2 fields are not valid." {
		t.Errorf("document = %+v", doc)
	}
}

func TestWriteTellsNothingInternal(t *testing.T) {
	t.Parallel()
	secret := errors.New("password=hunter2")
	for _, err := range []error{
		secret,
		fmt.Errorf("connect: %w", secret),
		problem.ErrUnavailable.With("The database is down.").Because(secret),
		fmt.Errorf("%w: %w", problem.ErrNotFound, secret),
		fmt.Errorf("%w: %w", context.DeadlineExceeded, secret),
	} {
		w, _ := write(t, err)
		if strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("%v: the body tells the cause: %s", err, w.Body)
		}
	}
}

func TestWriteHeaders(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, header, want string
		err                error
	}{
		{"rounds up", "Retry-After", "3", problem.ErrRateLimited.With("slow down").RetryAfter(2100 * time.Millisecond)},
		{"at least a second", "Retry-After", "1", problem.ErrRateLimited.With("slow down").RetryAfter(time.Millisecond)},
		{"by default", "Retry-After", "5", problem.ErrUnavailable},
		{"none where waiting does not help", "Retry-After", "", problem.ErrNotFound},
		{"how to authenticate", "Www-Authenticate", `Bearer realm="graf"`, problem.ErrUnauthenticated},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, _ := write(t, test.err)
			if got := w.Header().Get(test.header); got != test.want {
				t.Errorf("%s = %q, want %q", test.header, got, test.want)
			}
		})
	}
}
