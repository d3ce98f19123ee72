package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/graf-run/graf/shared/api"
)

const (
	requestTimeout = 20 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 16 << 20
)

// client calls the HTTP API.
type client struct {
	base, token string
	http        *http.Client
}

func newClient(base, token string) *client {
	// No timeout of its own: a stream of events may last. Each call has one.
	return &client{base: strings.TrimRight(base, "/"), token: token, http: &http.Client{}}
}

func (c *client) submit(ctx context.Context, submission api.TaskSubmission) (api.TaskCreated, error) {
	var created api.TaskCreated
	body, err := json.Marshal(submission)
	if err != nil {
		return created, err
	}
	return created, c.call(ctx, http.MethodPost, "/v1/codex/tasks", body, &created)
}

func (c *client) task(ctx context.Context, id string) (api.Task, error) {
	var task api.Task
	return task, c.call(ctx, http.MethodGet, "/v1/codex/tasks/"+id, nil, &task)
}

// events are all that were reported so far, oldest first.
func (c *client) events(ctx context.Context, id string) ([]api.TaskEvent, error) {
	var events []api.TaskEvent
	for query := "?limit=500"; ; {
		var page api.EventPage
		if err := c.call(ctx, http.MethodGet, "/v1/codex/tasks/"+id+"/events"+query, nil, &page); err != nil {
			return nil, err
		}
		events = append(events, page.Events...)
		if page.NextCursor == "" {
			return events, nil
		}
		query = "?limit=500&cursor=" + page.NextCursor
	}
}

func (c *client) call(ctx context.Context, method, path string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(answer))
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

func (c *client) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}
