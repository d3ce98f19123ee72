package callback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
)

// streamMediaType is that of server-sent events (WHATWG HTML, section 9.2).
const streamMediaType = "text/event-stream"

// streamBatch is how many events are read at a time.
const streamBatch = 100

// errStopping says that the function is about to stop.
var errStopping = errors.New("the function is stopping")

// ending is the data of a stream's last event.
type ending struct {
	TaskID uuid.UUID `json:"taskId"`
	Status string    `json:"status"`
}

// stream sends the events after a sequence number as they come, until the task
// has ended and all were sent. Errors come back only from before the first byte.
func (h *handler) stream(w http.ResponseWriter, r *http.Request, task uuid.UUID, after int64) error {
	if _, err := h.reader.Status(r.Context(), task); err != nil {
		return err
	}
	follower, err := h.listener.Follow(task) //nolint:contextcheck // its connection serves all streams and outlives this request
	if err != nil {
		return err
	}
	defer follower.Leave()
	h.endWithServer(r)
	s := &stream{
		writer: w, control: http.NewResponseController(w), config: h.config.Stream,
		reader: h.reader, follower: follower, task: task, last: after,
	}
	if err := s.open(); err != nil {
		return err
	}
	if err := s.run(r.Context(), h.listener.Closed()); err != nil {
		// The answer has begun: it can only be broken off. Clients resume.
		h.log.DebugContext(r.Context(), "event stream broken off", "task", task, "error", err)
	}
	return nil
}

// endWithServer has the streams end when the server shuts down, which would
// otherwise wait for them in vain. func-go does not hand its server out.
func (h *handler) endWithServer(r *http.Request) {
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
		h.shutdown.Do(func() { server.RegisterOnShutdown(h.listener.Shutdown) })
	}
}

// stream is one open answer.
type stream struct {
	writer   http.ResponseWriter
	control  *http.ResponseController
	config   StreamConfig
	reader   *Reader
	follower *Follower
	task     uuid.UUID
	last     int64
}

// open lifts the server's deadlines, which are for ordinary requests.
func (s *stream) open() error {
	// When the read deadline passes, net/http takes the client for gone.
	if err := s.control.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("open an event stream: %w", err)
	}
	header := s.writer.Header()
	header.Set("Content-Type", streamMediaType)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back.
	return nil
}

func (s *stream) run(ctx context.Context, closed <-chan struct{}) error {
	// So that the client has the head of the answer also when there is no event.
	if err := s.send(": events of task %s\n\n", s.task); err != nil {
		return err
	}
	poll, heartbeat := time.NewTicker(s.config.Poll), time.NewTicker(s.config.Heartbeat)
	defer poll.Stop()
	defer heartbeat.Stop()
	for {
		done, err := s.catchUp(ctx)
		if done || err != nil {
			return err
		}
		select {
		case <-s.follower.Woken:
		case <-poll.C:
		case <-heartbeat.C:
			if err := s.send(": heartbeat\n\n"); err != nil {
				return err
			}
		case <-closed:
			return errors.Join(errStopping, s.send(": %v\n\n", errStopping))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// catchUp sends what is new, and says whether the task has ended. The status is
// read first: a task that has ended gets no more events.
func (s *stream) catchUp(ctx context.Context) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	status, err := s.reader.Status(ctx, s.task)
	if err != nil {
		return false, err
	}
	for more := true; more; {
		var events []api.TaskEvent
		if events, more, err = s.reader.After(ctx, s.task, s.last, streamBatch); err != nil {
			return false, err
		}
		if err := s.sendEvents(events); err != nil {
			return false, err
		}
	}
	if !ended(status) {
		return false, nil
	}
	data, err := json.Marshal(ending{TaskID: s.task, Status: status})
	if err != nil {
		return false, err
	}
	return true, s.send("event: end\ndata: %s\n\n", data)
}

func (s *stream) sendEvents(events []api.TaskEvent) error {
	for _, event := range events {
		data, err := json.Marshal(event) // which is one line
		if err != nil {
			return err
		}
		if err := s.send("id: %d\nevent: %s\ndata: %s\n\n", event.Sequence, event.EventType, data); err != nil {
			return err
		}
		s.last = event.Sequence
	}
	return nil
}

// send gives the client a while to take what is sent.
func (s *stream) send(format string, args ...any) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(s.config.WriteTimeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.writer, format, args...); err != nil {
		return err
	}
	return s.control.Flush()
}
