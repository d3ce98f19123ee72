package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/apitest"
)

// glance is the pause between two looks at something that is waited for.
const glance = 200 * time.Millisecond

// client is a careful one: it uses keys, and tries again when Graf is away for a moment.
type client struct{ Target }

func (c *client) request(ctx context.Context, method, url string, body any, headers ...string) (*http.Request, error) {
	return apitest.NewRequest(ctx, method, url, c.Token, body, headers...)
}

// call makes one call: see apitest.Call for its error.
func (c *client) call(t *testing.T, method, url string, body, out any, headers ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), c.Patience)
	defer cancel()
	request, err := c.request(ctx, method, url, body, headers...)
	if err != nil {
		return err
	}
	return apitest.Call(t, c.Client, request, out)
}

// mustCall calls until there is an answer.
func (c *client) mustCall(t *testing.T, method, url string, body, out any, headers ...string) {
	t.Helper()
	var last error
	ok := c.wait(func() bool {
		last = c.call(t, method, url, body, out, headers...)
		return last == nil
	})
	if !ok {
		t.Fatalf("waited %s in vain: %v", c.Patience, last)
	}
}

// download gets what is behind an artifact's link.
func (c *client) download(t *testing.T, artifact api.Artifact) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), c.Patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, artifact.DownloadURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("download %s: %s: %s, %v", artifact.Name, response.Status, data, err)
	}
	return string(data)
}

func (c *client) submit(t *testing.T, submission api.TaskSubmission) uuid.UUID {
	t.Helper()
	var created api.TaskCreated
	c.mustCall(t, http.MethodPost, c.Submit+"/v1/codex/tasks", submission, &created, "Idempotency-Key", uuid.NewString())
	return created.TaskID
}

func (c *client) cancel(t *testing.T, id uuid.UUID) {
	t.Helper()
	c.mustCall(t, http.MethodPost, c.Submit+"/v1/codex/tasks/"+id.String()+"/cancel",
		api.TaskCancellation{Reason: cancelReason}, &api.TaskCancelled{})
}

// await polls the task until ok, and fails if it ends before.
func (c *client) await(t *testing.T, id uuid.UUID, what string, ok func(api.Task) bool) api.Task {
	t.Helper()
	var task api.Task
	c.eventually(t, "task "+id.String()+" "+what, func() bool {
		task = api.Task{}
		c.mustCall(t, http.MethodGet, c.Submit+"/v1/codex/tasks/"+id.String(), nil, &task)
		return ok(task) || task.FinishedAt != nil
	})
	if !ok(task) {
		t.Fatalf("task %s ended as %s before it %s: %+v", id, task.Status, what, task.Failure)
	}
	return task
}

func (c *client) awaitEnd(t *testing.T, id uuid.UUID) api.Task {
	t.Helper()
	return c.await(t, id, "ends", func(task api.Task) bool { return task.FinishedAt != nil })
}

// pages reads the task's events two at a time.
func (c *client) pages(t *testing.T, id uuid.UUID) []api.TaskEvent {
	t.Helper()
	var events []api.TaskEvent
	for query := "?limit=2"; ; {
		var page api.EventPage
		c.mustCall(t, http.MethodGet, c.Callback+"/v1/codex/tasks/"+id.String()+"/events"+query, nil, &page)
		events = append(events, page.Events...)
		if page.NextCursor == "" {
			return events
		}
		query = "?limit=2&cursor=" + page.NextCursor
	}
}

// stream is all that a task's stream of events had.
type stream struct {
	events []api.TaskEvent
	// status is that of the stream's end.
	status api.TaskStatus
	err    error
}

// follow reads the task's stream until it says that the task has ended, and takes it up again where it breaks off.
func (c *client) follow(ctx context.Context, id uuid.UUID) <-chan stream {
	result := make(chan stream, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, c.Patience)
		defer cancel()
		var s stream
		for s.status == "" && ctx.Err() == nil {
			if s.err = c.read(ctx, id, &s); s.status != "" {
				break
			}
			select {
			case <-time.After(glance): // a client's own pause before it connects again
			case <-ctx.Done():
			}
		}
		if s.status == "" && s.err == nil {
			s.err = fmt.Errorf("it did not end within %s: %w", c.Patience, ctx.Err())
		}
		result <- s
	}()
	return result
}

// read reads from one connection what it has of the stream.
func (c *client) read(ctx context.Context, id uuid.UUID, s *stream) error {
	headers := []string{"Accept", "text/event-stream"}
	if n := len(s.events); n > 0 {
		headers = append(headers, "Last-Event-ID", fmt.Sprint(s.events[n-1].Sequence))
	}
	request, err := c.request(ctx, http.MethodGet, c.Callback+"/v1/codex/tasks/"+id.String()+"/events", nil, headers...)
	if err != nil {
		return err
	}
	response, err := c.Client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered %s", response.Status)
	}
	var name string
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() && s.status == "" {
		field, data, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "event":
			name = data
		case "data":
			if err := s.take(name, []byte(data)); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// take takes one message of the stream.
func (s *stream) take(name string, data []byte) error {
	if name == "end" {
		var end struct {
			Status api.TaskStatus `json:"status"`
		}
		err := json.Unmarshal(data, &end)
		s.status = end.Status
		return err
	}
	var event api.TaskEvent
	if err := json.Unmarshal(data, &event); err != nil {
		return err
	}
	s.events = append(s.events, event)
	return nil
}

// eventually looks again and again until ok, and fails the test with what it waited for when patience runs out.
func (c *client) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !c.wait(ok) {
		t.Fatalf("waited %s in vain: %s", c.Patience, what)
	}
}

func (c *client) wait(ok func() bool) bool {
	deadline := time.After(c.Patience)
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			return false
		}
	}
	return true
}
