// Package source stands in for Knative's sources on one machine: PingSource (a
// tick) and ApiServerSource (changes of Kubernetes objects). Events have the
// attributes that Knative's have.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/uuid"
)

// ErrRefused is wrapped by the error for an event that its sink refuses for
// good.
var ErrRefused = errors.New("the sink refused the event")

const (
	// requestTimeout bounds one attempt to send.
	requestTimeout = 30 * time.Second
	// firstWait and maxWait bound the wait between attempts, which doubles.
	firstWait = 50 * time.Millisecond
	maxWait   = 5 * time.Second
)

// sender posts events to a sink.
type sender struct {
	sink   string
	client *http.Client
	log    *slog.Logger
}

func newSender(sink string, log *slog.Logger) sender {
	return sender{sink: sink, client: &http.Client{Timeout: requestTimeout}, log: log}
}

// send gives the event an id and the present time and posts it until the sink
// takes it, refuses it for good (a 4xx other than 404, 408, 409 and 429), or ctx
// ends. All attempts carry the same id.
func (s sender) send(ctx context.Context, event cloudevents.Event) error {
	event.SetID(uuid.NewString())
	event.SetTime(time.Now().UTC())
	if err := event.Validate(); err != nil {
		return fmt.Errorf("source %s: %w", event.Source(), err)
	}
	wait := firstWait
	for {
		err := s.post(ctx, event)
		if err == nil || errors.Is(err, ErrRefused) {
			return err
		}
		s.log.Warn("event not sent, trying again", "type", event.Type(), "event", event.ID(), "in", wait, "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("send %s: %w (last: %w)", event.Type(), ctx.Err(), err)
		}
		wait = min(2*wait, maxWait)
	}
}

func (s sender) post(ctx context.Context, event cloudevents.Event) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.sink, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := cehttp.WriteRequest(ctx, binding.ToMessage(&event), request); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
	switch code := response.StatusCode; {
	case code/100 == 2:
		return nil
	case code/100 == 4 && code != 404 && code != 408 && code != 409 && code != 429:
		return fmt.Errorf("%w: %s answered %d: %s", ErrRefused, s.sink, code, body)
	default:
		return fmt.Errorf("%s answered %d: %s", s.sink, code, body)
	}
}
