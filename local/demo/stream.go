package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/graf-run/graf/shared/api"
)

const (
	// maxLine bounds a line of a stream, in bytes; an event's content has at
	// most 256 KiB, but a snapshot up to 1 MiB.
	maxLine = 4 << 20
	// reconnectPause is before a stream that broke off is opened again.
	reconnectPause = 200 * time.Millisecond
)

// stream sends the task's events as they come, until the task has ended or the
// context does. A stream that breaks off is resumed where it was.
func (c *client) stream(ctx context.Context, id string, events chan<- api.TaskEvent) error {
	last := int64(0)
	for {
		ended, err := c.streamOnce(ctx, id, &last, events)
		if ended || ctx.Err() != nil {
			return ctx.Err()
		}
		var refused *refusedError
		if errors.As(err, &refused) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reconnectPause):
		}
	}
}

// refusedError is an answer that another try does not change.
type refusedError struct{ status string }

func (e *refusedError) Error() string { return "event stream: " + e.status }

func (c *client) streamOnce(ctx context.Context, id string, last *int64, events chan<- api.TaskEvent) (ended bool, err error) {
	req, err := c.request(ctx, http.MethodGet, "/v1/codex/tasks/"+id+"/events", nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if *last > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(*last, 10))
	}
	res, err := c.http.Do(req)
	if err != nil {
		return false, err
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	if res.StatusCode != http.StatusOK {
		if res.StatusCode < 500 && res.StatusCode != http.StatusTooManyRequests {
			return false, &refusedError{res.Status}
		}
		return false, errors.New(res.Status)
	}
	return readStream(ctx, res.Body, last, events)
}

// readStream reads server-sent events (WHATWG HTML, section 9.2), of which the
// one with the name "end" is the last.
func readStream(ctx context.Context, body io.Reader, last *int64, events chan<- api.TaskEvent) (ended bool, err error) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxLine)
	var name string
	var data strings.Builder
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "" && name == "end":
			return true, nil
		case lines.Text() == "" && data.Len() > 0:
			var event api.TaskEvent
			if err := json.Unmarshal([]byte(data.String()), &event); err != nil {
				return false, fmt.Errorf("event stream: %w", err)
			}
			select {
			case events <- event:
			case <-ctx.Done():
				return false, ctx.Err()
			}
			*last = event.Sequence
			name = ""
			data.Reset()
		case field == "event":
			name = value
		case field == "data":
			data.WriteString(value)
		}
	}
	return false, lines.Err()
}
