package callback_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/problem"
)

func TestPages(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	if page := w.page(k, ""); len(page.Events) != 0 || page.NextCursor != "" {
		t.Errorf("a task without events shows %+v", page)
	}
	for i := range 5 {
		w.post(k, event(fmt.Sprint(i), "x"))
	}
	var seen []int64
	query := "?limit=2"
	for range 3 {
		page := w.page(k, query)
		for _, e := range page.Events {
			seen = append(seen, e.Sequence)
		}
		query = "?limit=2&cursor=" + page.NextCursor
		if (page.NextCursor == "") != (len(seen) == 5) {
			t.Errorf("after %v the next cursor is %q", seen, page.NextCursor)
		}
	}
	if fmt.Sprint(seen) != "[1 2 3 4 5]" {
		t.Errorf("the pages have %v", seen)
	}
}

func TestLargePagesEndEarly(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	text := strings.Repeat("x", 250_000)
	for i := range 7 {
		body := make([]string, 4)
		for j := range body {
			body[j] = fmt.Sprintf(`{"eventId":"%d-%d","eventType":"log","content":%q}`, i, j, text)
		}
		w.post(k, "["+strings.Join(body, ",")+"]")
	}
	first := w.page(k, "")
	if n := len(first.Events); n < 16 || n >= 28 || first.NextCursor == "" {
		t.Fatalf("a page has %d of 28 events of 250 kB, next cursor %q", n, first.NextCursor)
	}
	second := w.page(k, "?cursor="+first.NextCursor)
	if len(first.Events)+len(second.Events) != 28 || second.NextCursor != "" {
		t.Errorf("pages of %d and %d events", len(first.Events), len(second.Events))
	}
}

func TestBadQueries(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	for _, test := range []struct{ query, parameter string }{
		{"?limit=0", "limit"}, {"?limit=501", "limit"}, {"?limit=x", "limit"}, {"?cursor=x", "cursor"},
		{"?cursor=eyJhZnRlciI6LTF9", "cursor"}, {"?cursor=eyJhZnRlciI6MX17fQ", "cursor"}, {"?since=1", "since"},
	} {
		status, data := w.request(http.MethodGet, k.path()+test.query, apiToken, "")
		if p := wantProblem(t, status, data, problem.ErrBadRequest); len(p.Errors) != 1 || p.Errors[0].Parameter != test.parameter {
			t.Errorf("%s: %s", test.query, data)
		}
	}
	status, data := w.request(http.MethodGet, k.path(), apiToken, "", "Last-Event-ID", "-1")
	if p := wantProblem(t, status, data, problem.ErrBadRequest); p.Errors[0].Parameter != "Last-Event-ID" {
		t.Errorf("Last-Event-ID: %s", data)
	}
}
