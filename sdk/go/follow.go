package graf

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	// maxStreamLine bounds a line of live events, in bytes: a snapshot has at most
	// 1 MiB, which JSON may write longer.
	maxStreamLine = 16 << 20
	// maxSilence is the longest that a live stream may say nothing. Graf sends a
	// comment at least every 15 s, unless it is set up otherwise.
	maxSilence = 90 * time.Second
	// usefulLife is how long a stream without an event must have lived to be no failure:
	// one that is cut at once again and again is.
	usefulLife = 5 * time.Second
	// followAttempts bridges about a minute with the usual waits, in which Graf may be
	// rolled out or the network be away.
	followAttempts = 14
)

var (
	// errSilent is why a stream or a download is given up of which nothing comes.
	errSilent = errors.New("nothing has come for too long")
	// errNoStream is an answer of something else than Graf.
	errNoStream = errors.New("no event stream")
)

// Follow yields the task's events after the sequence number, 0 for all, as they
// come, until the task has ended. A stream that breaks off is opened again where it
// was; only tries in a row that bring no event, nor a comment and some seconds, are
// counted, so that it may last for days. Unless [Retry].Attempts is set, they bridge about
// a minute. An error is the last that is yielded.
func (c *Client) Follow(ctx context.Context, task uuid.UUID, after int64) iter.Seq2[TaskEvent, error] {
	return func(yield func(TaskEvent, error) bool) {
		patient := c.patient()
		follower := &follower{client: patient, task: task, last: after, yield: yield}
		for {
			err := patient.again(ctx, true, func() error { return follower.stream(ctx) })
			if follower.done {
				return
			}
			if err == nil {
				err = pause(ctx, patient.retry.backoff(1))
			}
			if err != nil {
				yield(TaskEvent{}, err)
				return
			}
		}
	}
}

// patient is the same client with the tries of who waits for a task.
func (c *Client) patient() *Client {
	patient := *c
	patient.retry.Attempts = c.followAttempts
	return &patient
}

// follower is where one Follow is.
type follower struct {
	client *Client
	task   uuid.UUID
	last   int64
	yield  func(TaskEvent, error) bool
	done   bool // the task has ended, or nobody listens any more
}

// stream opens the stream once and reads it to its end. It is no error if the stream
// breaks off after an event, or after some time with a comment: a quiet task says no more,
// and proxies cut streams.
func (f *follower) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(maxSilence, func() { cancel(errSilent) })
	defer silence.Stop()
	call := call{operation: operationListTaskEvents, arguments: []any{f.task}, header: http.Header{}}
	call.header.Set("Accept", "text/event-stream")
	if f.last > 0 {
		call.header.Set("Last-Event-ID", strconv.FormatInt(f.last, 10))
	}
	response, err := f.client.send(ctx, call, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); media != "text/event-stream" {
		return fmt.Errorf("event stream of task %s: %w: the answer is %q", f.task, errNoStream, media)
	}
	opened, before, heard := time.Now(), f.last, false
	err = f.read(response.Body, func() {
		heard = true
		silence.Reset(maxSilence)
	})
	fruitful := f.last > before || heard && time.Since(opened) >= usefulLife
	switch {
	case f.done || fruitful && retryable(err, true):
		return nil
	case err != nil:
		return fmt.Errorf("event stream of task %s: %w", f.task, err)
	default:
		return fmt.Errorf("event stream of task %s: %w", f.task, brokenOff(io.EOF))
	}
}

// read reads server-sent events (WHATWG HTML, section 9.2) until the one that is
// called "end", calling alive at each line.
func (f *follower) read(body io.Reader, alive func()) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxStreamLine)
	var name string
	var data strings.Builder
	for lines.Scan() {
		alive()
		line := lines.Text()
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if err := f.dispatch(name, data.String()); f.done || err != nil {
				return err
			}
			name = ""
			data.Reset()
		case field == "event":
			name = value
		case field == "data":
			data.WriteString(value)
		}
	}
	return lines.Err()
}

// dispatch passes one event on, once.
func (f *follower) dispatch(name, data string) error {
	if name == "end" {
		f.done = true
		return nil
	}
	if data == "" {
		return nil
	}
	var event TaskEvent
	if err := json.Unmarshal([]byte(data), &event); err != nil {
		return final(err)
	}
	if event.Sequence <= f.last {
		return nil
	}
	f.last = event.Sequence
	f.done = !f.yield(event, nil)
	return nil
}
