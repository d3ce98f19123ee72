package eventtest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/event"
)

var update = flag.Bool("update", false, "write golden events anew")

// Golden compares an event with testdata/<name>.json, in which what differs
// from run to run is a placeholder: UUIDs are "<uuid>", times "<time>",
// durations in milliseconds 0, the traceparent "<traceparent>". go test -update
// writes the file anew.
func Golden(t testing.TB, name string, e event.Event) {
	t.Helper()
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(placeholders("", tree)); err != nil {
		t.Fatal(err)
	}
	got := text.Bytes()
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("golden event: %v (go test -update writes it)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: the event is\n%s\nwant\n%s", file, got, want)
	}
}

func placeholders(key string, value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, field := range value {
			value[name] = placeholders(name, field)
		}
	case []any:
		for i, item := range value {
			value[i] = placeholders(key, item)
		}
	case float64:
		if key == "durationMs" {
			return 0
		}
	case string:
		if key == "traceparent" {
			return "<traceparent>"
		}
		if _, err := uuid.Parse(value); err == nil {
			return "<uuid>"
		}
		if _, err := time.Parse(time.RFC3339Nano, value); err == nil {
			return "<time>"
		}
	}
	return value
}
