package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// clients is how many submit at a time.
const clients = 16

// client submits tasks.
type client struct {
	http  *http.Client
	url   string
	token string
}

func newClient(url, token string) *client {
	transport := &http.Transport{MaxIdleConnsPerHost: 2 * clients}
	return &client{http: &http.Client{Transport: transport, Timeout: time.Minute}, url: url, token: token}
}

func (c *client) close() { c.http.CloseIdleConnections() }

func (c *client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Content-Type", "application/json")
	return r, nil
}

// submit sends one task and returns its id.
func (c *client) submit(ctx context.Context, body string) (string, error) {
	r, err := c.request(ctx, http.MethodPost, "/v1/codex/tasks", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	res, err := c.http.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("submit: %s: %s", res.Status, answer)
	}
	var created struct{ TaskID string }
	return created.TaskID, json.Unmarshal(answer, &created)
}

// submitAll sends count tasks by 16 clients, each its next one as soon as the
// last was answered, and returns how long each took.
func (c *client) submitAll(ctx context.Context, count int, body func(int) string) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	latencies := make([]time.Duration, count)
	var next atomic.Int64
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < count && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				began := time.Now()
				if _, err := c.submit(ctx, body(i)); err != nil {
					cancel(err)
					return
				}
				latencies[i] = time.Since(began)
			}
		})
	}
	group.Wait()
	return latencies, context.Cause(ctx)
}

// awaitEnd follows the task's event stream until the event that says that the
// task has ended, and returns the status that it names.
func (c *client) awaitEnd(ctx context.Context, task string) (string, error) {
	r, err := c.request(ctx, http.MethodGet, "/v1/codex/tasks/"+task+"/events", nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Accept", "text/event-stream")
	res, err := c.http.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("event stream: %s", res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	end := false
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && end {
			var ending struct{ Status string }
			return ending.Status, json.Unmarshal([]byte(data), &ending)
		}
		end = lines.Text() == "event: end" || end
	}
	return "", errors.Join(lines.Err(), errors.New("the event stream broke off before the task's end"))
}
