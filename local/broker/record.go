package broker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

// record is an accepted event.
type record struct {
	// event is without its TTL, which is the Broker's own business.
	event cloudevents.Event
	ttl   int32
	// headers are those that the Broker passes on.
	headers http.Header
}

// envelope is the part of a stored record that is JSON.
type envelope struct {
	TTL     int32             `json:"ttl"`
	Headers http.Header       `json:"headers,omitempty"`
	Event   cloudevents.Event `json:"event"`
}

var errCorrupt = errors.New("stored event is corrupt")

// encode returns the record as it is stored: the length of its envelope, the
// envelope without the event's data, the data. The data is apart because a
// Broker passes on what calls itself JSON without looking, and inside the
// envelope it would have to be JSON.
func (r *record) encode() ([]byte, error) {
	event := r.event
	event.DataEncoded = nil
	head, err := json.Marshal(envelope{TTL: r.ttl, Headers: r.headers, Event: event})
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	out := make([]byte, 0, binary.MaxVarintLen64+len(head)+len(r.event.DataEncoded))
	out = binary.AppendUvarint(out, uint64(len(head)))
	out = append(out, head...)
	return append(out, r.event.DataEncoded...), nil
}

// decode reads what encode returned. It keeps no reference to raw.
func decode(raw []byte) (*record, error) {
	length, n := binary.Uvarint(raw)
	// No event is as long as an int32 can say, and so no envelope.
	if n <= 0 || length > math.MaxInt32 || int(length) > len(raw)-n {
		return nil, errCorrupt
	}
	head, data := raw[n:n+int(length)], raw[n+int(length):]
	var stored envelope
	if err := json.Unmarshal(head, &stored); err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	if len(data) > 0 {
		stored.Event.DataEncoded = append([]byte(nil), data...)
	}
	return &record{event: stored.Event, ttl: stored.TTL, headers: stored.Headers}, nil
}
