package conformance

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"strings"
	"testing"
)

// event is a CloudEvent: its attributes as text, and its data.
type event struct {
	attributes map[string]string
	data       []byte
}

// newEvent returns a valid event with JSON data; more attributes are pairs.
func newEvent(id, eventType string, pairs ...string) event {
	e := event{
		attributes: map[string]string{
			"specversion": "1.0", "id": id, "source": "/conformance", "type": eventType,
			"datacontenttype": "application/json",
		},
		data: []byte(`{"id": "` + id + `"}`),
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		e.attributes[pairs[i]] = pairs[i+1]
	}
	return e
}

func (e event) id() string { return e.attributes["id"] }

// writeHeaders writes the attributes as HTTP headers, in binary mode.
func (e event) writeHeaders(header http.Header) {
	for name, value := range e.attributes {
		if name == "datacontenttype" {
			header.Set("Content-Type", value)
			continue
		}
		header.Set("Ce-"+name, value)
	}
}

// structured returns the event in structured mode. JSON data is embedded,
// other data is base64.
func (e event) structured(t testing.TB) []byte {
	t.Helper()
	doc := map[string]any{}
	for name, value := range e.attributes {
		doc[name] = value
	}
	if e.attributes["datacontenttype"] == "application/json" {
		doc["data"] = json.RawMessage(e.data)
	} else {
		doc["data_base64"] = base64.StdEncoding.EncodeToString(e.data)
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// readEvent reads an event in either mode.
func readEvent(r *http.Request) (event, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return event{}, err
	}
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mediaType == "application/cloudevents+json" {
		return readStructured(body)
	}
	e := event{attributes: map[string]string{}, data: body}
	for name := range r.Header {
		if attribute, ok := strings.CutPrefix(strings.ToLower(name), "ce-"); ok {
			e.attributes[attribute] = r.Header.Get(name)
		}
	}
	if contentType := r.Header.Get("Content-Type"); contentType != "" {
		e.attributes["datacontenttype"] = contentType
	}
	if e.id() == "" {
		return e, fmt.Errorf("not a CloudEvent: %v", r.Header)
	}
	return e, nil
}

func readStructured(body []byte) (event, error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(body, &doc); err != nil {
		return event{}, err
	}
	e := event{attributes: map[string]string{}}
	for name, raw := range doc {
		switch name {
		case "data":
			e.data = raw
		case "data_base64":
			if err := json.Unmarshal(raw, &e.data); err != nil {
				return event{}, err
			}
		default:
			e.attributes[name] = strings.Trim(string(raw), `"`)
		}
	}
	return e, nil
}

// post sends a request to the ingress and returns the answer's status.
func post(t testing.TB, url string, header http.Header, body []byte) int {
	t.Helper()
	status, err := request(t.Context(), http.MethodPost, url, header, body)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func request(ctx context.Context, method, url string, header http.Header, body []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	maps.Copy(r.Header, header)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// send posts an event in binary mode, which the Broker must accept.
func send(t testing.TB, h Harness, e event) {
	t.Helper()
	header := http.Header{}
	e.writeHeaders(header)
	if status := post(t, ingressURL(h), header, e.data); status != http.StatusAccepted {
		t.Fatalf("event %s: the Broker answered %d, want 202", e.id(), status)
	}
}
