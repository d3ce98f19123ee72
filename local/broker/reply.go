package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	knbroker "knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/kncloudevents"
)

var errNoEvent = errors.New("the answer is neither empty nor a CloudEvent")

// reply puts the event that a subscriber answered with back into the Broker,
// with the TTL of the event that it answers. A Broker that refuses the reply
// counts as a failed delivery, as in Knative.
func (d *delivery) reply(ctx context.Context, info *kncloudevents.DispatchInfo) outcome {
	event, err := replyEvent(ctx, info.ResponseHeader, info.ResponseBody)
	if err != nil || event == nil {
		// checkAnswer has refused wrong replies already.
		return delivered
	}
	status, err := d.acceptReply(ctx, event, info.ResponseHeader)
	switch {
	case err == nil:
		return delivered
	case status >= http.StatusInternalServerError:
		d.broker.log.Error("reply not stored; the event is kept", "trigger", d.sub.trigger.String(), "error", err)
		return unreachable
	}
	return d.sendDeadLetter(ctx, d.sub.brokerURL, &kncloudevents.DispatchInfo{ResponseCode: status})
}

func (d *delivery) acceptReply(ctx context.Context, event *cloudevents.Event, headers http.Header) (int, error) {
	if err := event.Validate(); err != nil {
		return http.StatusBadRequest, err
	}
	if err := knbroker.SetTTL(event.Context, d.item.record.ttl); err != nil {
		return http.StatusBadRequest, err
	}
	return d.broker.accept(ctx, d.sub.broker, event, passOn(headers))
}

// replyEvent reads the event in an answer; it is nil if the answer is empty.
func replyEvent(ctx context.Context, headers http.Header, body []byte) (*cloudevents.Event, error) {
	message := cehttp.NewMessage(headers, io.NopCloser(bytes.NewReader(body)))
	if message.ReadEncoding() == binding.EncodingUnknown {
		if len(body) > 0 {
			return nil, errNoEvent
		}
		return nil, nil
	}
	return binding.ToEvent(ctx, message)
}

// check bounds an answer's body and decides on a retry: Knative's rules, and no
// retry when the Broker has cut the delivery off.
func (d *delivery) check(ctx context.Context, response *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if response != nil && err == nil {
		d.bound(response)
	}
	return d.sub.retry.CheckRetry(ctx, response, err)
}

// checkAnswer is check for a subscriber's answer, whose body must be empty or an
// event. Any other is a 502 and retried, which Knative's broker-filter makes of
// it: a function that answers otherwise would fail in a cluster.
func (d *delivery) checkAnswer(ctx context.Context, response *http.Response, err error) (bool, error) {
	if err != nil || response == nil || response.StatusCode/100 != 2 {
		return d.check(ctx, response, err)
	}
	body, readErr := io.ReadAll(io.LimitReader(response.Body, d.broker.config.MaxEventBytes+1))
	_ = response.Body.Close()
	if readErr == nil && int64(len(body)) > d.broker.config.MaxEventBytes {
		readErr = errors.New("the answer is too large")
	}
	if readErr == nil {
		_, readErr = replyEvent(ctx, response.Header, body)
	}
	if readErr != nil {
		response.StatusCode = http.StatusBadGateway
		body = []byte(readErr.Error())
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return d.check(ctx, response, nil)
}

// bound cuts an answer's body off at the largest event's size.
func (d *delivery) bound(response *http.Response) {
	body := response.Body
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(body, d.broker.config.MaxEventBytes), body}
}

// attemptPause makes a backoff that waits by itself and asks for no further
// wait, so that a delivery holds no slot while it waits.
func attemptPause(backoff kncloudevents.Backoff, pause func(time.Duration)) kncloudevents.Backoff {
	return func(attempt int, response *http.Response) time.Duration {
		pause(backoff(attempt, response))
		return 0
	}
}
