package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	yaml "go.yaml.in/yaml/v3"
)

// documentURL is the base that references inside the document resolve against.
const documentURL = "urn:graf:openapi"

// Validator checks requests against the OpenAPI document. It is safe for
// concurrent use.
type Validator struct {
	operations map[string]*operation
	schemas    map[string]*jsonschema.Schema
}

// operation is what the document says of one operation's request.
type operation struct {
	pattern      string
	parameters   []parameter
	body         *jsonschema.Schema // of application/json; nil: takes no body
	bodyRequired bool
}

// NewValidator compiles the request side of the document, in some 10 ms; make
// one when the function starts. It fails only if the document is broken, which
// the tests of this package would have shown.
func NewValidator() (*Validator, error) {
	root, err := parseDocument(document)
	if err != nil {
		return nil, err
	}
	c, err := newCompiler(root)
	if err != nil {
		return nil, err
	}
	v := &Validator{operations: map[string]*operation{}, schemas: map[string]*jsonschema.Schema{}}
	for _, name := range []string{SchemaTaskSubmission, SchemaMemoryQuery, "Event", "EventBatch"} {
		if v.schemas[name], err = c.Compile(documentURL + "#/components/schemas/" + name); err != nil {
			return nil, fmt.Errorf("openapi.yaml: schema %s: %w", name, err)
		}
	}
	return v, v.addOperations(c, root)
}

// Pattern is the operation's pattern for [net/http.ServeMux], for instance
// "GET /v1/codex/tasks/{taskId}". It panics if there is no such operation.
func (v *Validator) Pattern(operationID string) string {
	return v.operations[operationID].pattern
}

// parseDocument reads YAML into the values that a JSON decoder would give.
func parseDocument(text []byte) (map[string]any, error) {
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	encoded, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return object(root), nil
}

// newCompiler is a compiler of JSON Schema 2020-12 with our keywords, in which
// formats are checked, not only noted.
func newCompiler(root any) (*jsonschema.Compiler, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.RegisterFormat(&jsonschema.Format{Name: "date-time", Validate: checkTime})
	c.RegisterFormat(&jsonschema.Format{Name: "uuid", Validate: checkUUID})
	c.AssertVocabs()
	c.RegisterVocabulary(keywords())
	if err := c.AddResource(documentURL, root); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return c, nil
}

// addOperations reads every operation of the document.
func (v *Validator) addOperations(c *jsonschema.Compiler, root map[string]any) error {
	for path, item := range object(root["paths"]) {
		shared := list(object(item)["parameters"])
		for method, op := range object(item) {
			id, ok := object(op)["operationId"].(string)
			if !ok {
				continue
			}
			at := []string{"paths", path, method}
			o := &operation{pattern: strings.ToUpper(method) + " " + path}
			if err := o.addBody(c, object(op), at); err != nil {
				return fmt.Errorf("openapi.yaml: %s: %w", id, err)
			}
			if err := o.addParameters(c, root, shared, []string{"paths", path}); err != nil {
				return fmt.Errorf("openapi.yaml: %s: %w", id, err)
			}
			if err := o.addParameters(c, root, list(object(op)["parameters"]), at); err != nil {
				return fmt.Errorf("openapi.yaml: %s: %w", id, err)
			}
			v.operations[id] = o
		}
	}
	return nil
}

// addBody compiles the schema of the JSON body, if the operation takes one.
func (o *operation) addBody(c *jsonschema.Compiler, op map[string]any, at []string) error {
	body := object(op["requestBody"])
	if body == nil {
		return nil
	}
	o.bodyRequired, _ = body["required"].(bool)
	at = append(at[:len(at):len(at)], "requestBody", "content", jsonMediaType, "schema")
	schema, err := c.Compile(documentURL + "#" + fragment(at))
	if err != nil {
		return err
	}
	o.body = schema
	return nil
}

// object and list read the untyped document; nil where there is none.
func object(v any) map[string]any { m, _ := v.(map[string]any); return m }
func list(v any) []any            { l, _ := v.([]any); return l }
