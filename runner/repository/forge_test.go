package repository

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// hub is a forge's API as its documentation has it: GitHub's "Create a pull request"
// and "List pull requests", and Gitea's repoCreatePullRequest and
// repoListPullRequests. No real forge can be run or reached here; what is tested is
// that the requests are of that shape, and that answers of that shape are understood.
type hub struct {
	t     *testing.T
	kind  string
	pulls []map[string]any
	// fail is answered to so many requests first.
	fail, status int
	answer       string
	opened       proposal
}

func (h *hub) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	answer := func(status int, body any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	if want := map[string]string{GitHub: "Bearer ", Gitea: "token "}[h.kind] + token; request.Header.Get("Authorization") != want {
		answer(http.StatusUnauthorized, map[string]any{"message": "Bad credentials"})
		return
	}
	if h.fail > 0 {
		h.fail--
		w.WriteHeader(h.status)
		_, _ = io.WriteString(w, h.answer)
		return
	}
	if request.URL.Path != "/api/repos/owner/name/pulls" {
		answer(http.StatusNotFound, map[string]any{"message": "Not Found"})
		return
	}
	if request.Method == http.MethodGet {
		h.list(request, answer)
		return
	}
	var asked proposal
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil || asked.Head == "" || asked.Base == "" || asked.Title == "" {
		answer(http.StatusUnprocessableEntity, map[string]any{"message": "Validation Failed"})
		return
	}
	for _, p := range h.pulls {
		if p["state"] == "open" && p["head"].(map[string]any)["ref"] == asked.Head && p["base"].(map[string]any)["ref"] == asked.Base {
			h.exists(answer)
			return
		}
	}
	h.opened = asked
	h.add(asked.Head, asked.Base, "open")
	answer(http.StatusCreated, h.pulls[len(h.pulls)-1])
}

func (h *hub) exists(answer func(int, any)) {
	if h.kind == Gitea {
		answer(http.StatusConflict, map[string]any{"message": "pull request already exists for these targets [id: 1]"})
		return
	}
	answer(http.StatusUnprocessableEntity, map[string]any{"message": "Validation Failed", "errors": []any{
		map[string]any{"resource": "PullRequest", "code": "custom", "message": "A pull request already exists for owner:branch."},
	}})
}

func (h *hub) list(request *http.Request, answer func(int, any)) {
	query := request.URL.Query()
	size, _ := strconv.Atoi(query.Get(map[string]string{GitHub: "per_page", Gitea: "limit"}[h.kind]))
	page, _ := strconv.Atoi(query.Get("page"))
	matching := []map[string]any{}
	for _, p := range h.pulls {
		if p["state"] == query.Get("state") && (h.kind == Gitea || p["head"].(map[string]any)["label"] == query.Get("head")) {
			matching = append(matching, p)
		}
	}
	from := min((page-1)*size, len(matching))
	answer(http.StatusOK, matching[from:min(from+size, len(matching))])
}

func (h *hub) add(head, base, state string) {
	number := len(h.pulls) + 1
	repo := map[string]any{"full_name": "owner/name"}
	h.pulls = append(h.pulls, map[string]any{
		"number": number, "state": state, "html_url": fmt.Sprintf("https://forge.example/owner/name/pull/%d", number),
		"head": map[string]any{"ref": head, "label": "owner:" + head, "repo": repo},
		"base": map[string]any{"ref": base, "label": "owner:" + base, "repo": repo},
	})
}

// worked is a repository with work that is pushed.
func worked(t *testing.T, kind string, h *hub) *Repository {
	t.Helper()
	h.t, h.kind = t, kind
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	far := newRemote(t)
	o := far.options()
	o.PullRequest, o.Forge, o.ForgeURL = true, kind, server.URL+"/api/"
	r := open(t, o)
	write(t, o.Folder, map[string]string{"new": "1"})
	changed(t, r, "")
	push(t, r)
	return r
}

func TestPropose(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{GitHub, Gitea} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := &hub{fail: 1, status: http.StatusBadGateway}
			for i := range 120 {
				h.add("other-"+strconv.Itoa(i), "main", "open")
			}
			h.add("graf/"+task, "main", "closed")
			r := worked(t, kind, h)
			first, err := r.Propose(t.Context(), "Fix the shop.\n\nFixes #1, thanks to @everybody, with "+token)
			if err != nil {
				t.Fatal(err)
			}
			if first.Existing || first.Number != 122 || first.URL != "https://forge.example/owner/name/pull/122" {
				t.Errorf("%+v", first)
			}
			if h.opened.Title != "Fix the shop." || h.opened.Head != "graf/"+task || h.opened.Base != "main" ||
				!strings.Contains(h.opened.Body, "\n    Fixes #1, thanks") || strings.Contains(h.opened.Body, token) {
				t.Errorf("%+v", h.opened)
			}
			second, err := r.Propose(t.Context(), "Again.")
			if err != nil || !second.Existing || second.URL != first.URL {
				t.Errorf("%+v, %v", second, err)
			}
		})
	}
}

func TestForgeRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		answer string
		want   error
	}{
		"credentials":   {http.StatusForbidden, `{"message":"Resource not accessible by ` + token + `"}`, ErrAuthentication},
		"hidden":        {http.StatusNotFound, `{}`, ErrAuthentication},
		"rate limit":    {http.StatusForbidden, `{"message":"API rate limit exceeded"}`, ErrInfrastructure},
		"away":          {http.StatusServiceUnavailable, ``, ErrInfrastructure},
		"invalid":       {http.StatusUnprocessableEntity, `{"message":"No commits between main and graf"}`, ErrGit},
		"no JSON":       {http.StatusOK, `<html>`, ErrGit},
		"no address":    {http.StatusCreated, `{"html_url":"javascript:alert(1)"}`, ErrGit},
		"moved":         {http.StatusMovedPermanently, ``, ErrGit},
		"lost conflict": {http.StatusConflict, `{}`, errExists},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &hub{fail: cloneTries, status: c.status, answer: c.answer}
			if c.want == errExists { //nolint:errorlint // it is the table's
				h.fail = 1
			}
			_, err := worked(t, GitHub, h).Propose(t.Context(), "")
			if !errors.Is(err, c.want) || strings.Contains(err.Error(), token) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestForge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"GitHub":      {Config{URL: "https://github.com/graf-run/graf.git"}, "github https://api.github.com graf-run graf"},
		"by ssh":      {Config{URL: "git@github.com:graf-run/graf.git"}, "github https://api.github.com graf-run graf"},
		"Enterprise":  {Config{URL: "https://git.example/a/b", Forge: GitHub}, "github https://git.example/api/v3 a b"},
		"Gitea":       {Config{URL: "ssh://git@git.example:2222/a/b.git", Forge: Gitea}, "gitea https://git.example/api/v1 a b"},
		"with a port": {Config{URL: "http://git.example:3000/a/b/", Forge: Gitea}, "gitea http://git.example:3000/api/v1 a b"},
		"own URL":     {Config{URL: "https://git.example/a/b", Forge: Gitea, ForgeURL: "https://api.example/x/"}, "gitea https://api.example/x a b"},
		"unknown":     {Config{URL: "https://git.example/a/b"}, ""},
		"no owner":    {Config{URL: "https://github.com/b"}, ""},
		"bad URL":     {Config{URL: "https://github.com/a/b", ForgeURL: "ftp://x"}, ""},
	} {
		f, err := c.config.forge()
		got := strings.Join([]string{f.kind, f.base, f.owner, f.name}, " ")
		if (c.want == "") != (err != nil) || (err == nil && got != c.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
