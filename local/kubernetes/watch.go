package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
)

var (
	errUID             = errors.New("the precondition names another uid")
	errResourceVersion = errors.New("the precondition names another resourceVersion")
)

// maxWatch bounds a watch that asks for no timeout; clients begin a new one.
const maxWatch = 30 * time.Minute

// watch streams changes as they happen, from the resourceVersion that the client names or, without one, from now after
// all that exists.
func (c *Cluster) watch(w http.ResponseWriter, call call, matches selection) error {
	query := call.request.URL.Query()
	initial, from, err := c.watchStart(call, query.Get("resourceVersion"), matches)
	if err != nil {
		return err
	}
	missed, next, ok := c.store.changes.subscribe(from)
	if !ok {
		return apierrors.NewResourceExpired("too old resource version: " + strconv.FormatUint(from, 10))
	}
	defer c.store.changes.unsubscribe(next)
	ctx, cancel := context.WithTimeout(call.request.Context(), watchTimeout(query.Get("timeoutSeconds")))
	defer cancel()
	stream := newStream(w, call, matches)
	for _, o := range initial {
		stream.send(watch.Added, o)
	}
	for _, c := range missed {
		stream.change(c)
	}
	stream.flush()
	for {
		select {
		case <-ctx.Done():
			return nil
		case c, open := <-next:
			if !open {
				return nil
			}
			stream.change(c)
			stream.flush()
		}
	}
}

func (c *Cluster) watchStart(call call, version string, matches selection) ([]object, uint64, error) {
	if version != "" && version != "0" {
		from, err := strconv.ParseUint(version, 10, 64)
		if err != nil {
			return nil, 0, apierrors.NewBadRequest("resourceVersion: " + err.Error())
		}
		return nil, from, nil
	}
	objects, version, err := c.find(call.resource, call.namespace(), matches)
	if err != nil {
		return nil, 0, err
	}
	from, err := strconv.ParseUint(version, 10, 64)
	return objects, from, err
}

func watchTimeout(seconds string) time.Duration {
	if n, err := strconv.Atoi(seconds); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, maxWatch)
	}
	return maxWatch
}

// stream writes the events of one watch.
type stream struct {
	call    call
	matches selection
	encoder *json.Encoder
	control *http.ResponseController
}

func newStream(w http.ResponseWriter, call call, matches selection) *stream {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	return &stream{call, matches, json.NewEncoder(w), http.NewResponseController(w)}
}

func (s *stream) change(c change) {
	namespace := s.call.namespace()
	if c.key.resource == s.call.resource && (namespace == "" || namespace == c.key.namespace) && s.matches(c.object) {
		s.event(c.event, json.RawMessage(c.raw))
	}
}

func (s *stream) send(kind watch.EventType, o object) { s.event(kind, o) }

func (s *stream) event(kind watch.EventType, o any) {
	if wantsTable(s.call.request) {
		o = eventTable(s.call.resource, o)
	}
	// A write to a client that is gone fails; its request's context then ends the watch.
	_ = s.encoder.Encode(map[string]any{"type": kind, "object": o})
}

func (s *stream) flush() { _ = s.control.Flush() }
