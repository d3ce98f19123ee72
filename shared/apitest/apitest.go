// Package apitest holds real answers to the OpenAPI document. Only tests
// import it.
package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	yaml "go.yaml.in/yaml/v3"

	"github.com/graf-run/graf/shared/api"
)

const documentURL = "urn:graf:openapi"

// document is the parsed document, in which answers may have no field that is
// not written down. The published document does not close them, so that a
// client of today can read the answers of tomorrow.
type document struct {
	root map[string]any
	// mu guards compiler, which is not safe for concurrent use.
	mu       sync.Mutex
	compiler *jsonschema.Compiler
}

var load = sync.OnceValues(func() (*document, error) {
	var tree any
	if err := yaml.Unmarshal(api.Document(), &tree); err != nil {
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
	closeObjects(root)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource(documentURL, root); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return &document{root: object(root), compiler: c}, nil
})

// closeObjects lets objects that list their fields have no others, but for
// what stands for resources, which are Kubernetes' own.
func closeObjects(node any) {
	switch node := node.(type) {
	case map[string]any:
		_, listed := node["properties"].(map[string]any)
		_, said := node["additionalProperties"]
		if node["x-go-type"] == "json.RawMessage" {
			return
		}
		if listed && !said && node["type"] == "object" {
			node["additionalProperties"] = false
		}
		for _, child := range node {
			closeObjects(child)
		}
	case []any:
		for _, child := range node {
			closeObjects(child)
		}
	}
}

// CheckResponse fails the test unless the document has the answer: operation,
// status, required headers, media type and every field of the body. resp needs
// its Request, as a client's answers have; see [CheckRecorder] for others. It
// returns the body, which resp can be read for again, too. The body of an event
// stream is not touched; put each of its data through [CheckSchema].
func CheckResponse(t testing.TB, resp *http.Response) []byte {
	t.Helper()
	d := mustLoad(t)
	if resp.Request == nil {
		t.Fatal("apitest: the response has no Request; use CheckRecorder")
	}
	request := resp.Request.Method + " " + resp.Request.URL.Path
	at, op := d.operation(resp.Request.Method, resp.Request.URL.Path)
	if op == nil {
		t.Fatalf("apitest: the document has no operation for %s", request)
	}
	at = append(at, "responses", strconv.Itoa(resp.StatusCode))
	at, answer := d.follow(at)
	if answer == nil {
		t.Fatalf("%s: status %d is not in the document: %s", request, resp.StatusCode, read(t, resp))
	}
	d.checkHeaders(t, request, object(answer["headers"]), resp.Header)
	if answer["content"] == nil {
		body := read(t, resp)
		if len(body) > 0 {
			t.Errorf("%s: status %d has no body in the document: %s", request, resp.StatusCode, body)
		}
		return body
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if _, ok := object(answer["content"])[media]; err != nil || !ok {
		t.Fatalf("%s: status %d with Content-Type %q is not in the document: %s", request, resp.StatusCode, resp.Header.Get("Content-Type"), read(t, resp))
	}
	if media == "text/event-stream" {
		return nil
	}
	body := read(t, resp)
	d.check(t, fmt.Sprintf("%s: status %d", request, resp.StatusCode), append(at, "content", media, "schema"), body)
	return body
}

// CheckRecorder is CheckResponse for what a handler answered to r.
func CheckRecorder(t testing.TB, r *http.Request, result *http.Response) []byte {
	t.Helper()
	result.Request = r
	return CheckResponse(t, result)
}

// CheckSchema fails the test unless data matches the document's schema of that
// name, for instance TaskEvent for the data of an event stream.
func CheckSchema(t testing.TB, name string, data []byte) {
	t.Helper()
	mustLoad(t).check(t, name, []string{"components", "schemas", name}, data)
}

func mustLoad(t testing.TB) *document {
	t.Helper()
	d, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// read reads the body and puts it back.
func read(t testing.TB, resp *http.Response) []byte {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("apitest: read the body: %v", err)
	}
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return body
}

// operation finds the operation for a request and where it stands.
func (d *document) operation(method, path string) ([]string, map[string]any) {
	for template, item := range object(d.root["paths"]) {
		op := object(object(item)[strings.ToLower(method)])
		if op != nil && matches(template, path) {
			return []string{"paths", template, strings.ToLower(method)}, op
		}
	}
	return nil, nil
}

// matches says whether path fits a template such as /v1/codex/tasks/{taskId}.
func matches(template, path string) bool {
	want, have := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if want[i] != have[i] && !strings.HasPrefix(want[i], "{") {
			return false
		}
	}
	return true
}

// follow finds an object and, if it is a reference, what it refers to.
func (d *document) follow(at []string) ([]string, map[string]any) {
	node := d.root
	for _, token := range at {
		node = object(node[token])
	}
	if ref, ok := node["$ref"].(string); ok {
		return d.follow(strings.Split(strings.TrimPrefix(ref, "#/"), "/"))
	}
	return at[:len(at):len(at)], node
}

func (d *document) checkHeaders(t testing.TB, request string, headers map[string]any, have http.Header) {
	t.Helper()
	for name, header := range headers {
		definition := object(header)
		if ref, ok := definition["$ref"].(string); ok {
			_, definition = d.follow(strings.Split(strings.TrimPrefix(ref, "#/"), "/"))
		}
		if required, _ := definition["required"].(bool); required && have.Get(name) == "" {
			t.Errorf("%s: the header %s is missing", request, name)
		}
	}
}

// check validates data with the schema that stands at at.
func (d *document) check(t testing.TB, what string, at []string, data []byte) {
	t.Helper()
	schema, err := d.compile(at)
	if err != nil {
		t.Fatalf("apitest: %v", err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s: not JSON: %v: %s", what, err, data)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%s: the document does not allow this: %v\n%s", what, err, data)
	}
}

func (d *document) compile(at []string) (*jsonschema.Schema, error) {
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	var fragment strings.Builder
	for _, token := range at {
		fragment.WriteString("/" + escape.Replace(token))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.compiler.Compile(documentURL + "#" + fragment.String())
}

// object is v as an object, nil if it is none.
func object(v any) map[string]any { m, _ := v.(map[string]any); return m }
