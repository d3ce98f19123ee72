package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/problem"
)

// FuzzDecodeEvents: whatever an agent sends, the answer is events within the
// document's bounds or a client's error, never a fault of ours.
func FuzzDecodeEvents(f *testing.F) {
	const one = `{"eventId":"a","eventType":"log","content":{"x":1},"occurredAt":"2026-01-05T10:00:00.5+02:00"}`
	f.Add(one, false)
	f.Add("["+one+`,{"eventId":"b","eventType":"artifact","artifacts":[{"name":"a/b","contentType":"a/b; c","sizeBytes":1,"sha256":"`+strings.Repeat("0", 64)+`"}]}]`, false)
	f.Add(one+"\n"+`{"eventId":"b","eventType":"snapshot","snapshot":{"type":"after","diff":"x"}}`, true)
	f.Add(`[{"eventId":"a","eventType":"snapshot","snapshot":{"type":"after","manifests":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}]}}]`, false)
	f.Fuzz(func(t *testing.T, body string, lines bool) {
		media := "application/json"
		if lines {
			media = "application/x-ndjson"
		}
		events, err := setup(t).DecodeEvents(post(t, media, body), api.MaxEventsBytes)
		if err != nil {
			if status := problem.Status(err); status != 400 && status != 413 && status != 422 {
				t.Fatalf("status %d: %v", status, err)
			}
			return
		}
		if len(events) == 0 || len(events) > api.MaxEvents {
			t.Fatalf("%d events", len(events))
		}
		for _, event := range events {
			if event.EventID == "" || !event.EventType.Valid() || strings.Contains(string(event.Content), "\x00") {
				t.Fatalf("event %+v", event)
			}
			for _, artifact := range event.Artifacts {
				if strings.Contains(artifact.Name, "..") && strings.Contains("/"+artifact.Name+"/", "/../") {
					t.Fatalf("artifact name %q climbs", artifact.Name)
				}
			}
		}
		again, err := json.Marshal(events)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := setup(t).DecodeEvents(post(t, "application/json", string(again)), 8<<20); err != nil && len(again) < 1<<18 {
			t.Fatalf("what was read is refused when written again: %v: %s", err, again)
		}
	})
}

// FuzzMemoryQuery: whatever filters come, the answer is a query within bounds
// or a client's error.
func FuzzMemoryQuery(f *testing.F) {
	f.Add(`{"text":"a","limit":5,"namespace":"default","resourceKind":"Pod","tags":["a"],"includeOwn":true}`)
	f.Add(`{"vector":[0.1,-2e-3,3]}`)
	f.Fuzz(func(t *testing.T, body string) {
		var query api.MemoryQuery
		err := setup(t).DecodeBody(post(t, "application/json", body), api.OperationQueryTaskMemory, api.MaxMemoryQueryBytes, &query)
		if err != nil {
			if status := problem.Status(err); status != 400 && status != 413 && status != 422 {
				t.Fatalf("status %d: %v", status, err)
			}
			return
		}
		if (query.Text == "") == (len(query.Vector) == 0) || len(query.Text) > 65536 || len(query.Vector) > 4000 {
			t.Fatalf("query %+v", query)
		}
		if query.Limit != nil && (*query.Limit < 1 || *query.Limit > 100) {
			t.Fatalf("limit %d", *query.Limit)
		}
	})
}
