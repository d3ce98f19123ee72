package conformance

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func testIngress(t *testing.T, h Harness) {
	binary := http.Header{}
	newEvent("1", "x").writeHeaders(binary)
	without := func(attribute string) http.Header {
		header := binary.Clone()
		header.Del("Ce-" + attribute)
		return header
	}
	with := func(pairs ...string) http.Header {
		header := http.Header{}
		newEvent("1", "x", pairs...).writeHeaders(header)
		return header
	}
	structured := http.Header{"Content-Type": {"application/cloudevents+json"}}
	url, body := ingressURL(h), []byte(`{}`)
	for name, test := range map[string]struct {
		method, url string
		header      http.Header
		body        []byte
		want        int
	}{
		"binary mode":           {"POST", url, binary, body, 202},
		"structured mode":       {"POST", url, structured, newEvent("1", "x").structured(t), 202},
		"closing slash":         {"POST", url + "/", binary, body, 202},
		"no data":               {"POST", url, binary, nil, 202},
		"handshake":             {"OPTIONS", url, nil, nil, 200},
		"not an event":          {"POST", url, http.Header{"Content-Type": {"application/json"}}, body, 400},
		"no id":                 {"POST", url, without("id"), body, 400},
		"no type":               {"POST", url, without("type"), body, 400},
		"no source":             {"POST", url, without("source"), body, 400},
		"bad time":              {"POST", url, with("time", "yesterday"), body, 400},
		"unknown version":       {"POST", url, with("specversion", "9.9"), body, 400},
		"structured, malformed": {"POST", url, structured, []byte(`{"specversion":`), 400},
		"TTL used up":           {"POST", url, with("knativebrokerttl", "1"), body, 400},
		"malformed path":        {"POST", h.Ingress() + "/one", binary, body, 400},
		"no path":               {"POST", h.Ingress() + "/", binary, body, 404},
		"unknown Broker":        {"POST", url + "-unknown", binary, body, 404},
		"another method":        {"GET", url, binary, nil, 405},
	} {
		got, err := request(t.Context(), test.method, test.url, test.header, test.body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got != test.want {
			t.Errorf("%s: status %d, want %d", name, got, test.want)
		}
	}
}

// testFilters gives each filter a Trigger and sends the same events to all.
func testFilters(t *testing.T, h Harness) {
	type m = map[string]any
	exact := func(name, value string) m { return m{"exact": m{name: value}} }
	tests := []struct {
		name       string
		filters    []any
		attributes map[string]string
		want       []string
	}{
		{"none", nil, nil, []string{"a1", "a2", "b1"}},
		{"exact", []any{exact("type", "a.one")}, nil, []string{"a1"}},
		{"exact-extension", []any{exact("shade", "red")}, nil, []string{"a1", "b1"}},
		{"prefix", []any{m{"prefix": m{"type": "a."}}}, nil, []string{"a1", "a2"}},
		{"suffix", []any{m{"suffix": m{"type": ".one"}}}, nil, []string{"a1", "b1"}},
		{"any", []any{m{"any": []any{exact("type", "a.two"), exact("type", "b.one")}}}, nil, []string{"a2", "b1"}},
		{"all", []any{m{"all": []any{m{"prefix": m{"type": "a."}}, exact("shade", "red")}}}, nil, []string{"a1"}},
		{"not", []any{m{"not": exact("shade", "red")}}, nil, []string{"a2"}},
		{"several", []any{m{"suffix": m{"type": ".one"}}, exact("shade", "red"), m{"not": m{"prefix": m{"type": "b"}}}}, nil, []string{"a1"}},
		{"nested", []any{m{"any": []any{m{"not": m{"prefix": m{"type": "a"}}}, m{"all": []any{exact("type", "a.two")}}}}}, nil, []string{"a2", "b1"}},
		{"cesql", []any{m{"cesql": "type LIKE 'a.%' AND EXISTS shade"}}, nil, []string{"a1"}},
		{"attributes", nil, map[string]string{"type": "a.one", "shade": "red"}, []string{"a1"}},
		{"attribute-present", nil, map[string]string{"shade": ""}, []string{"a1", "b1"}},
		// filters, when there are any, make filter count for nothing.
		{"both", []any{exact("type", "b.one")}, map[string]string{"type": "a.one"}, []string{"b1"}},
	}
	subscribers := make([]*subscriber, len(tests))
	for i, test := range tests {
		subscribers[i] = subscribe(t, h, accepts)
		trigger{name: test.name, filters: test.filters, attributes: test.attributes, subscriber: subscribers[i].url}.apply(t, h)
	}
	// The fourth goes to those alone that let everything pass.
	send(t, h, newEvent("a1", "a.one", "shade", "red"))
	send(t, h, newEvent("a2", "a.two"))
	send(t, h, newEvent("b1", "b.one", "shade", "red"))
	for i, test := range tests {
		var got []string
		for range test.want {
			got = append(got, subscribers[i].next(t).id())
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, test.want) {
			t.Errorf("%s: delivered %v, want %v", test.name, got, test.want)
		}
	}
	// By now every Trigger has had all that it should get.
	for i, test := range tests {
		for _, id := range subscribers[i].delivered() {
			if !slices.Contains(test.want, id) {
				t.Errorf("%s: also delivered %s", test.name, id)
			}
		}
	}
}

func testFanOut(t *testing.T, h Harness) {
	subscribers := []*subscriber{subscribe(t, h, accepts), subscribe(t, h, accepts), subscribe(t, h, status(400, "no"))}
	for i, s := range subscribers {
		trigger{name: "fan-" + string(rune('a'+i)), subscriber: s.url}.apply(t, h)
	}
	send(t, h, newEvent("1", "x"))
	for _, s := range subscribers {
		if got := s.next(t); got.id() != "1" {
			t.Errorf("delivered %s, want 1", got.id())
		}
	}
}

func testModes(t *testing.T, h Harness) {
	s := subscribe(t, h, accepts)
	trigger{name: "modes", subscriber: s.url}.apply(t, h)
	octets := newEvent("octets", "x", "datacontenttype", "application/octet-stream")
	octets.data = []byte{0, 0xff, 0xfe, '\n', '"', 0x80}
	notJSON := newEvent("not-json", "x")
	notJSON.data = []byte(`{"truncated": `)
	empty := newEvent("empty", "x")
	empty.data = nil
	object := newEvent("object", "x")
	object.data = []byte(`{"text":"Grüße, 世界","number":12345678901234567890,"list":[]}`)

	want := map[string][]byte{}
	for _, e := range []event{octets, notJSON, empty, object} {
		send(t, h, e)
		want[e.id()] = e.data
	}
	for _, e := range []event{octets, object} {
		e.attributes["id"] += "-structured"
		header := http.Header{"Content-Type": {"application/cloudevents+json; charset=utf-8"}}
		if status := post(t, ingressURL(h), header, e.structured(t)); status != http.StatusAccepted {
			t.Fatalf("status %d, want 202", status)
		}
		want[e.id()] = e.data
	}
	for len(want) > 0 {
		got := s.next(t)
		if data, ok := want[got.id()]; ok && !bytes.Equal(got.data, data) {
			t.Errorf("%s: data %q, want %q", got.id(), got.data, data)
		}
		delete(want, got.id())
	}
}

func testAttributes(t *testing.T, h Harness) {
	s := subscribe(t, h, accepts)
	trigger{name: "attributes", subscriber: s.url}.apply(t, h)
	sent := newEvent("1", "x", "subject", "task/42", "time", "2026-01-05T10:00:00.123Z", "dataschema", "urn:graf:schema",
		"terminal", "true", "taskstatus", "timed_out",
		"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate", "graf=1")
	sent.attributes["datacontenttype"] = "application/json"
	before := time.Now().Add(-time.Minute)
	send(t, h, sent)
	got := s.next(t)
	for name, value := range sent.attributes {
		if got.attributes[name] != value {
			t.Errorf("attribute %s is %q, want %q", name, got.attributes[name], value)
		}
	}
	if _, ok := got.attributes["knativebrokerttl"]; ok {
		t.Error("the subscriber sees the Broker's TTL")
	}
	arrived, err := time.Parse(time.RFC3339Nano, got.attributes["knativearrivaltime"])
	if err != nil || arrived.Before(before) {
		t.Errorf("knativearrivaltime is %q", got.attributes["knativearrivaltime"])
	}
	namespace, _ := h.Broker()
	if got.header.Get("Prefer") != "reply" || got.header.Get("Kn-Namespace") != namespace {
		t.Errorf("headers: Prefer %q, Kn-Namespace %q", got.header.Get("Prefer"), got.header.Get("Kn-Namespace"))
	}
}

func testLargeEvent(t *testing.T, h Harness) {
	s := subscribe(t, h, accepts)
	trigger{name: "large", subscriber: s.url}.apply(t, h)
	large := newEvent("1", "x")
	large.data = []byte(`"` + strings.Repeat("0123456789abcdef", 1<<16) + `"`)
	send(t, h, large)
	if got := s.next(t); !bytes.Equal(got.data, large.data) {
		t.Errorf("%d bytes delivered, want the %d that were sent", len(got.data), len(large.data))
	}
}
