//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/apitest"
)

// request makes one call at a function's URL with a token, and gives the answer's
// status and body.
func (s *system) request(ctx context.Context, method, url, token string, body any, headers ...string) (*http.Response, error) {
	request, err := apitest.NewRequest(ctx, method, url, token, body, headers...)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(request)
}

// call makes one call with the API token. Functions' answers are held to the
// OpenAPI document; what passes by itself (no answer, 429, 5xx) gives an error.
func (s *system) call(t *testing.T, method, url string, body, out any, headers ...string) error {
	t.Helper()
	request, err := apitest.NewRequest(within(t), method, url, s.token, body, headers...)
	if err != nil {
		return err
	}
	return apitest.Call(t, http.DefaultClient, request, out)
}

// submit submits a task as a careful client does: with a key, and again when
// Graf is away for a moment.
func (s *system) submit(t *testing.T, submission api.TaskSubmission) api.TaskCreated {
	t.Helper()
	var created api.TaskCreated
	var last error
	key := uuid.NewString()
	eventually(t, "a submission is taken", func() bool {
		last = s.call(t, http.MethodPost, s.urls["submit"]+"/v1/codex/tasks", submission, &created, "Idempotency-Key", key)
		return last == nil
	})
	return created
}

// await polls the task until ok.
func (s *system) await(t *testing.T, id uuid.UUID, what string, ok func(api.Task) bool) api.Task {
	t.Helper()
	var task api.Task
	eventually(t, "task "+id.String()+": "+what, func() bool {
		task = api.Task{}
		return s.call(t, http.MethodGet, s.urls["submit"]+"/v1/codex/tasks/"+id.String(), nil, &task) == nil && ok(task)
	})
	return task
}

func (s *system) awaitStatus(t *testing.T, id uuid.UUID, status api.TaskStatus) api.Task {
	t.Helper()
	task := s.await(t, id, "becomes "+string(status)+", or ends", func(task api.Task) bool {
		return task.Status == status || task.FinishedAt != nil
	})
	if task.Status != status {
		t.Fatalf("task %s is %s, not %s: %+v", id, task.Status, status, task.Failure)
	}
	return task
}

// follow reads the task's stream of events until it says that the task has ended,
// and takes it up again where it breaks off.
func (s *system) follow(ctx context.Context, id uuid.UUID) ([]api.TaskEvent, error) {
	var events []api.TaskEvent
	for {
		ended, err := s.stream(ctx, id, &events)
		if ended || ctx.Err() != nil {
			return events, err
		}
		select {
		case <-time.After(glance): // a client's own pause before it connects again
		case <-ctx.Done():
		}
	}
}

func (s *system) stream(ctx context.Context, id uuid.UUID, events *[]api.TaskEvent) (ended bool, err error) {
	headers := []string{"Accept", "text/event-stream"}
	if n := len(*events); n > 0 {
		headers = append(headers, "Last-Event-ID", fmt.Sprint((*events)[n-1].Sequence))
	}
	response, err := s.request(ctx, http.MethodGet, s.urls["callback"]+"/v1/codex/tasks/"+id.String()+"/events", s.token, nil, headers...)
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return false, errors.New(response.Status)
	}
	var name string
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "event":
			name = value
		case field == "data" && name == "end":
			return true, nil
		case field == "data":
			var event api.TaskEvent
			if err := json.Unmarshal([]byte(value), &event); err != nil {
				return false, err
			}
			*events = append(*events, event)
		}
	}
	return false, lines.Err()
}

// recall asks the memory function what fits the task.
func (s *system) recall(t *testing.T, id uuid.UUID) api.MemoryResults {
	t.Helper()
	var found api.MemoryResults
	eventually(t, "memory answers", func() bool {
		return s.call(t, http.MethodGet, s.urls["memory"]+"/v1/codex/tasks/"+id.String()+"/memory", nil, &found) == nil
	})
	return found
}

// send sends an event to the Broker by plain HTTP, as any program in a cluster
// can, and again when it is away.
func (s *system) send(t *testing.T, header http.Header, body []byte) {
	t.Helper()
	eventually(t, "the Broker takes an event", func() bool {
		request, err := http.NewRequestWithContext(within(t), http.MethodPost, s.broker, bytes.NewReader(body))
		must(t, err)
		request.Header = header
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusAccepted
	})
}
