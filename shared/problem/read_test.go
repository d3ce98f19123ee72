package problem_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/problem"
)

// What one function answers is what the next one passes on.
func TestRead(t *testing.T) {
	t.Parallel()
	field := problem.FieldError{Pointer: "/lesson", Detail: "is required"}
	for _, err := range []error{
		problem.ErrInvalid.Fields(field), problem.ErrForbidden.With("Not yours."), problem.ErrInternal,
		problem.ErrRateLimited.With("slow down").RetryAfter(7 * time.Second), problem.ErrUnavailable, problem.ErrConflict.With("ended"),
	} {
		first := httptest.NewRecorder()
		problem.Write(first, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), err)
		read := problem.Read(first.Result())
		second := httptest.NewRecorder()
		problem.Write(second, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), read)
		if first.Body.String() != second.Body.String() || !reflect.DeepEqual(first.Header(), second.Header()) {
			t.Errorf("%v: read as %v\n%s%s", err, read, first.Body, second.Body)
		}
	}
}

func TestReadWhatIsNoDocument(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{404: problem.ErrNotFound, 502: problem.ErrUnavailable, 418: problem.ErrUnavailable, 500: problem.ErrInternal} {
		for _, body := range []string{"", "<html>secret</html>", `{"title":"x"}`, strings.Repeat("x", 1<<20)} {
			err := problem.Read(&http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))})
			if !errors.Is(err, want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("status %d, %.20q: %v, want %v", status, body, err, want)
			}
		}
	}
}
