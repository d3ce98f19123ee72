package graf

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/google/uuid"
)

// What one request may hold.
const (
	maxEvents     = 100
	maxEventBytes = 1 << 20
)

// Text is an event's content that is a text.
func Text(text string) EventContent {
	content, err := json.Marshal(text)
	if err != nil {
		return nil // a text can be encoded
	}
	return content
}

// EventPage is one page of a task's events, oldest first.
func (c *Client) EventPage(ctx context.Context, task uuid.UUID, params ListTaskEventsParams) (EventPage, error) {
	var page EventPage
	return page, c.do(ctx, call{operation: operationListTaskEvents, arguments: []any{task}, query: encode(params)}, &page)
}

// Events are the task's events so far, oldest first, read page by page. An error
// is the last that is yielded. For those to come see [Client.Follow].
func (c *Client) Events(ctx context.Context, task uuid.UUID, params ListTaskEventsParams) iter.Seq2[TaskEvent, error] {
	return pages(params.Cursor, func(cursor string) ([]TaskEvent, string, error) {
		params.Cursor = cursor
		page, err := c.EventPage(ctx, task, params)
		return page.Events, page.NextCursor, err
	})
}

// PostEvents reports events in order, in as many requests as they need; those of
// one request are taken all or none. An event without an id is given a random one,
// so that trying again reports it once. On an error the answer has what was taken
// before.
func (c *Client) PostEvents(ctx context.Context, task uuid.UUID, events ...Event) (EventsAccepted, error) {
	accepted := EventsAccepted{Events: []EventAccepted{}, Uploads: []Upload{}}
	batches, err := batch(events)
	if err != nil {
		return accepted, fmt.Errorf("%s: %w", operationPostTaskEvents.id, err)
	}
	for _, events := range batches {
		var answer EventsAccepted
		if err := c.do(ctx, call{operation: operationPostTaskEvents, arguments: []any{task}, body: events}, &answer); err != nil {
			return accepted, err
		}
		accepted.Events = append(accepted.Events, answer.Events...)
		accepted.Uploads = append(accepted.Uploads, answer.Uploads...)
	}
	return accepted, nil
}

// batch encodes the events and puts as many into each request as it may hold.
func batch(events []Event) ([][]json.RawMessage, error) {
	var batches [][]json.RawMessage
	size := 0
	for i, event := range events {
		if event.EventID == "" {
			event.EventID = uuid.NewString()
		}
		encoded, err := json.Marshal(event)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		// A comma or bracket is before each event, a bracket behind the last.
		last := len(batches) - 1
		if last < 0 || len(batches[last]) == maxEvents || size+1+len(encoded)+1 > maxEventBytes {
			batches, size = append(batches, nil), 0
			last++
		}
		batches[last] = append(batches[last], encoded)
		size += 1 + len(encoded)
	}
	return batches, nil
}
