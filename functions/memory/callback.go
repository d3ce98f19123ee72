package memory

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/problem"
)

// maxAnswer bounds what is read of an answer of callback, in bytes: its own bound on
// manifests, and as much again for the rest.
const maxAnswer = 16 << 20

// Callback calls the callback function with the token of whoever asks, so that it
// decides what they may, and does for them what this function has no rights to.
type Callback struct {
	base   *url.URL
	client *http.Client
}

// NewCallback is the callback function at base, which has no path of an operation.
func NewCallback(base *url.URL) *Callback {
	return &Callback{base: base, client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: 60 * time.Second},
		// A token goes where the configuration says, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Report stores an event of the task and tells its sequence number. Its errors are
// those of callback.
func (c *Callback) Report(ctx context.Context, x exchange, event api.Event) (int64, error) {
	var accepted api.EventsAccepted
	if err := c.post(ctx, x, "events", event, &accepted); err != nil {
		return 0, err
	}
	if len(accepted.Events) != 1 {
		return 0, fmt.Errorf("callback: %d events accepted, want 1", len(accepted.Events))
	}
	return accepted.Events[0].Sequence, nil
}

// Act asks for actions in the cluster and tells what became of each. Its errors are
// those of callback.
func (c *Callback) Act(ctx context.Context, x exchange, request api.ActionRequest) (api.ActionResults, error) {
	var results api.ActionResults
	return results, c.post(ctx, x, "actions", request, &results)
}

func (c *Callback) post(ctx context.Context, x exchange, operation string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("callback: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url(x.task, operation), bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("callback: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+x.token)
	request.Header.Set(problem.RequestIDHeader, x.requestID)
	otel.GetTextMapPropagator().Inject(ctx, propagation.HeaderCarrier(request.Header))
	answer, err := c.client.Do(request)
	if err != nil {
		return problem.ErrUnavailable.With("The callback function does not answer; try again later.").Because(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= http.StatusMultipleChoices {
		return problem.Read(answer)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("callback: read its answer: %w", err)
	}
	return nil
}

func (c *Callback) url(task uuid.UUID, operation string) string {
	return c.base.JoinPath("v1/codex/tasks", task.String(), operation).String()
}
