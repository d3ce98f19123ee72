package submit_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/graf-run/graf/shared/api"
)

// list follows the pages and gives the ids of all.
func (w *world) list(filter url.Values, limit int) []string {
	w.t.Helper()
	var ids []string
	filter.Set("limit", fmt.Sprint(limit))
	for {
		var page api.TaskPage
		w.call(http.MethodGet, "/v1/codex/tasks?"+filter.Encode(), "", http.StatusOK, &page)
		if len(page.Tasks) > limit {
			w.t.Fatalf("%d tasks in a page of %d", len(page.Tasks), limit)
		}
		for _, task := range page.Tasks {
			ids = append(ids, task.TaskID.String())
		}
		if page.NextCursor == "" {
			return ids
		}
		filter.Set("cursor", page.NextCursor)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	w := setup(t)
	if ids := w.list(url.Values{}, 10); len(ids) != 0 {
		t.Errorf("an empty list has %v", ids)
	}
	tags := []string{`["a"]`, `["a","b"]`, `["b"]`, `[]`, `["a","b","c"]`}
	ids := make([]string, len(tags))
	for i, tag := range tags {
		ids[i] = w.submit(`{"prompt":"p","agent":{"command":["true"]},"tags":`+tag+`}`, http.StatusCreated).TaskID.String()
	}
	w.move(ids[0], "launching", "running")
	w.cancel(ids[1], "", http.StatusAccepted)
	tests := []struct {
		filter url.Values
		want   []int
	}{
		{url.Values{}, []int{4, 3, 2, 1, 0}},
		{url.Values{"tag": {"a"}}, []int{4, 1, 0}},
		{url.Values{"tag": {"a", "b"}}, []int{4, 1}},
		{url.Values{"status": {"queued"}}, []int{4, 3, 2}},
		{url.Values{"status": {"running", "cancelled"}}, []int{1, 0}},
		{url.Values{"status": {"queued"}, "tag": {"b"}}, []int{4, 2}},
		{url.Values{"status": {"failed"}}, nil},
	}
	for _, test := range tests {
		var want []string
		for _, i := range test.want {
			want = append(want, ids[i])
		}
		for _, limit := range []int{1, 2, 3, 200} {
			if got := w.list(test.filter, limit); !slices.Equal(got, want) {
				t.Errorf("%v in pages of %d: %v, want %v", test.filter, limit, got, want)
			}
			test.filter.Del("cursor")
		}
	}
}

// A task that is made between two pages changes neither.
func TestListWhileTasksCome(t *testing.T) {
	t.Parallel()
	w := setup(t)
	first := w.submit(minimal, http.StatusCreated).TaskID
	w.submit(minimal, http.StatusCreated)
	var page, next api.TaskPage
	w.call(http.MethodGet, "/v1/codex/tasks?limit=1", "", http.StatusOK, &page)
	w.submit(minimal, http.StatusCreated)
	w.call(http.MethodGet, "/v1/codex/tasks?limit=1&cursor="+page.NextCursor, "", http.StatusOK, &next)
	if len(next.Tasks) != 1 || next.Tasks[0].TaskID != first || next.NextCursor != "" {
		t.Errorf("the second page = %+v, want task %s alone", next, first)
	}
}

func TestListBadParameters(t *testing.T) {
	t.Parallel()
	w := setup(t)
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for query, parameter := range map[string]string{
		"limit=0":                            "limit",
		"limit=201":                          "limit",
		"limit=x":                            "limit",
		"status=done":                        "status",
		"tag=%20":                            "tag",
		"cursor=%3F":                         "cursor",
		"cursor=abc":                         "cursor",
		"cursor=A":                           "cursor",
		"sort=name":                          "sort",
		"limit=1&limit=2":                    "limit",
		"cursor=" + encode(`{}`):             "cursor",
		"cursor=" + encode(`{"before":"x"}`): "cursor",
		"cursor=" + encode(`{"before":"01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d","more":1}`): "cursor",
		"cursor=" + encode(`{"before":"01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d"}{}`):        "cursor",
	} {
		res := w.call(http.MethodGet, "/v1/codex/tasks?"+query, "", http.StatusBadRequest, nil)
		if p := problemOf(t, res); len(p.Errors) != 1 || p.Errors[0].Parameter != parameter {
			t.Errorf("%s: errors = %+v, want one about %s", query, p.Errors, parameter)
		}
	}
}
