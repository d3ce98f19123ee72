package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of the forge's answers.
const (
	maxForgeAnswer = 8 << 20
	forgeTimeout   = 30 * time.Second
	pullsAPage     = 50
	maxPages       = 20
)

// forge is a repository at GitHub's REST API or at Gitea's, which is alike:
// https://docs.github.com/rest/pulls/pulls, https://docs.gitea.com/api.
type forge struct {
	kind, base, owner, name, token string
	mask                           func(string) string
}

// PullRequest is one that is open.
type PullRequest struct {
	URL    string
	Number int
	// Existing says that it was open before.
	Existing bool
}

// proposal is the body of the request that opens one.
type proposal struct {
	Title string `json:"title"`
	Body  string `json:"body"`
	Head  string `json:"head"`
	Base  string `json:"base"`
}

// pull is what there is of a pull request to know.
type pull struct {
	Number int    `json:"number"`
	URL    string `json:"html_url"`
	State  string `json:"state"`
	Head   branch `json:"head"`
	Base   branch `json:"base"`
}

type branch struct {
	Ref  string `json:"ref"`
	Repo struct {
		FullName string `json:"full_name"`
	} `json:"repo"`
}

// errExists says that the forge has such a pull request already.
var errExists = errors.New("there is one already")

// propose opens a pull request, or finds the one that is open.
func (f forge) propose(ctx context.Context, p proposal) (PullRequest, error) {
	var opened pull
	err := again(ctx, func() error { return f.call(ctx, http.MethodPost, "", p, &opened) })
	if errors.Is(err, errExists) {
		return f.find(ctx, p, err)
	}
	if err != nil {
		return PullRequest{}, fmt.Errorf("open a pull request: %w", err)
	}
	return f.told(opened, false)
}

// find looks for the pull request that keeps another one from being opened.
func (f forge) find(ctx context.Context, p proposal, because error) (PullRequest, error) {
	for page := 1; page <= maxPages; page++ {
		// GitHub filters by head and counts by per_page; Gitea does neither, and has limit.
		query := url.Values{
			"state": {"open"}, "head": {f.owner + ":" + p.Head}, "page": {strconv.Itoa(page)},
			"per_page": {strconv.Itoa(pullsAPage)}, "limit": {strconv.Itoa(pullsAPage)},
		}
		var open []pull
		if err := again(ctx, func() error { return f.call(ctx, http.MethodGet, "?"+query.Encode(), nil, &open) }); err != nil {
			return PullRequest{}, fmt.Errorf("look for the open pull request: %w", err)
		}
		for _, candidate := range open {
			own := candidate.Head.Repo.FullName == "" || strings.EqualFold(candidate.Head.Repo.FullName, f.owner+"/"+f.name)
			if candidate.Head.Ref == p.Head && candidate.Base.Ref == p.Base && own {
				return f.told(candidate, true)
			}
		}
		if len(open) == 0 {
			break
		}
	}
	return PullRequest{}, fmt.Errorf("open a pull request: %w", because)
}

// told checks what the forge says of a pull request.
func (f forge) told(p pull, existing bool) (PullRequest, error) {
	u, err := url.Parse(p.URL)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil || len(p.URL) > 1000 {
		return PullRequest{}, fmt.Errorf("%w: the forge tells no address of the pull request", ErrGit)
	}
	return PullRequest{URL: p.URL, Number: p.Number, Existing: existing}, nil
}

// client follows no redirect: the token is for the one host.
var client = &http.Client{
	Timeout:       forgeTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// call makes one request of the repository's pull requests.
func (f forge) call(ctx context.Context, method, query string, body, into any) error {
	var sent io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		sent = bytes.NewReader(encoded)
	}
	address := f.base + "/repos/" + url.PathEscape(f.owner) + "/" + url.PathEscape(f.name) + "/pulls" + query
	request, err := http.NewRequestWithContext(ctx, method, address, sent)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "graf-runner")
	if f.kind == GitHub {
		request.Header.Set("Accept", "application/vnd.github+json")
		request.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	}
	if f.token != "" {
		scheme := map[string]string{GitHub: "Bearer ", Gitea: "token "}[f.kind]
		request.Header.Set("Authorization", scheme+f.token)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrInfrastructure, f.mask(err.Error()))
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxForgeAnswer))
	if err != nil {
		return fmt.Errorf("%w: read the answer: %w", ErrInfrastructure, err)
	}
	if err := f.judge(response.StatusCode, answer); err != nil {
		return err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%w: the answer is not what the API promises: %w", ErrGit, err)
	}
	return nil
}

// judge tells what an answer's status means.
func (f forge) judge(status int, answer []byte) error {
	if status >= 200 && status < 300 {
		return nil
	}
	said := fmt.Sprintf("the forge answers %d: %s", status, clip(f.mask(clean(string(answer))), 500))
	switch {
	case status == http.StatusConflict, status == http.StatusUnprocessableEntity && bytes.Contains(answer, []byte("already exists")):
		return fmt.Errorf("%w: %s", errExists, said)
	case status == http.StatusForbidden && bytes.Contains(answer, []byte("rate limit")):
		return fmt.Errorf("%w: %s", ErrInfrastructure, said)
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound:
		return fmt.Errorf("%w: %s", ErrAuthentication, said)
	case status == http.StatusTooManyRequests, status >= 500:
		return fmt.Errorf("%w: %s", ErrInfrastructure, said)
	}
	return fmt.Errorf("%w: %s", ErrGit, said)
}
