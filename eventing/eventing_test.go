package eventing_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/graf-run/graf/eventing"
)

// compile returns the schema of an event type with formats (uuid, date-time)
// asserted, which draft 2020-12 otherwise only annotates.
func compile(t *testing.T, eventType string) *jsonschema.Schema {
	t.Helper()
	raw, err := eventing.Schema(eventType)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	url := "urn:graf:event:" + eventType
	if err := c.AddResource(url, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(url)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// golden reads an event of testdata in JSON format.
func golden(t *testing.T, file string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	event, ok := doc.(map[string]any)
	if !ok {
		t.Fatalf("%s: not an object", file)
	}
	return event
}

func goldenFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden events: %v, %v", files, err)
	}
	return files
}

func schemaTypes(t *testing.T) []string {
	t.Helper()
	entries, err := fs.ReadDir(eventing.Schemas(), ".")
	if err != nil {
		t.Fatal(err)
	}
	types := make([]string, 0, len(entries))
	for _, entry := range entries {
		types = append(types, strings.TrimSuffix(entry.Name(), ".json"))
	}
	return types
}

func TestGoldenEventsMatchTheirSchemas(t *testing.T) {
	t.Parallel()
	for _, file := range goldenFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			event := golden(t, file)
			for _, attribute := range []string{"specversion", "id", "source", "type", "time", "datacontenttype"} {
				if value, ok := event[attribute].(string); !ok || value == "" {
					t.Errorf("attribute %s is missing", attribute)
				}
			}
			if err := compile(t, event["type"].(string)).Validate(event["data"]); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEveryTypeHasSchemaGoldenEventAndRow(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, file := range goldenFiles(t) {
		seen[golden(t, file)["type"].(string)] = true
	}
	for _, eventType := range schemaTypes(t) {
		if !seen[eventType] {
			t.Errorf("%s has no golden event in testdata", eventType)
		}
		if !bytes.Contains(readme, []byte("(schemas/"+eventType+".json)")) {
			t.Errorf("%s has no row in README.md", eventType)
		}
	}
}

// A schema that accepts everything would pass the tests above, so each one of
// our own must refuse data with a field missing, unknown or of another type.
func TestSchemasRefuseWrongData(t *testing.T) {
	t.Parallel()
	for _, file := range goldenFiles(t) {
		event := golden(t, file)
		eventType := event["type"].(string)
		if !strings.HasPrefix(eventType, "dev.graf.") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			schema := compile(t, eventType)
			data := event["data"].(map[string]any)
			for name, wrong := range wrongData(data, required(t, eventType)) {
				if schema.Validate(wrong) == nil {
					t.Errorf("accepted data with %s", name)
				}
			}
		})
	}
}

func wrongData(data map[string]any, required []string) map[string]map[string]any {
	wrong := map[string]map[string]any{}
	unknown := maps.Clone(data)
	unknown["unknownField"] = 1
	wrong["an unknown field"] = unknown
	for _, field := range required {
		missing := maps.Clone(data)
		delete(missing, field)
		wrong[field+" missing"] = missing
	}
	for field := range data {
		other := maps.Clone(data)
		other[field] = []any{true} // no field is a list of booleans
		wrong[field+" a list"] = other
	}
	return wrong
}

func required(t *testing.T, eventType string) []string {
	t.Helper()
	raw, err := eventing.Schema(eventType)
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Required []string `json:"required"`
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	return schema.Required
}

func TestSchemaOfUnknownType(t *testing.T) {
	t.Parallel()
	if _, err := eventing.Schema("dev.graf.none.v1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an error that wraps fs.ErrNotExist", err)
	}
}
