package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/graf-run/graf/shared/problem"
)

// parameter is one parameter of the path, the query or the headers.
type parameter struct {
	name, in string
	// typ is the JSON type of a value, or of a list's items.
	typ      string
	repeated bool
	// fallback is the default, nil if there is none.
	fallback any
	schema   *jsonschema.Schema
}

// Parameters checks the path, query and header parameters of the operation and
// reads query and headers, with the document's defaults, into the struct that
// into points to, for instance a *ListTasksParams; nil checks only. An empty
// value counts as left out. Its errors are of kind ErrBadRequest and name each
// bad parameter, also those that the operation does not know.
func (v *Validator) Parameters(r *http.Request, operationID string, into any) error {
	o, ok := v.operations[operationID]
	if !ok {
		return fmt.Errorf("api: there is no operation %q", operationID)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return problem.ErrBadRequest.With("The query is not URL-encoded.")
	}
	fields := o.unknown(query)
	values := map[string]any{}
	for _, p := range o.parameters {
		value, bad := p.read(r, query)
		fields = append(fields, bad...)
		if value != nil && p.in != "path" {
			values[p.name] = value
		}
	}
	if len(fields) > 0 {
		return problem.ErrBadRequest.Fields(fields...)
	}
	if into == nil {
		return nil
	}
	encoded, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("api: parameters of %s: %w", operationID, err)
	}
	if err := json.Unmarshal(encoded, into); err != nil {
		return fmt.Errorf("api: parameters of %s: %w", operationID, err)
	}
	return nil
}

// TaskIDFrom is the task id of the request's path. Its error is of kind
// ErrBadRequest.
func TaskIDFrom(r *http.Request) (uuid.UUID, error) { return IDFrom(r, "taskId") }

// IDFrom is a parameter of the request's path that is an id. Its error is of
// kind ErrBadRequest.
func IDFrom(r *http.Request, parameter string) (uuid.UUID, error) {
	text := r.PathValue(parameter)
	if err := checkUUID(text); err != nil {
		return uuid.Nil, problem.ErrBadRequest.Fields(problem.FieldError{Parameter: parameter, Detail: formatDetail("uuid")})
	}
	return uuid.Parse(text)
}

// unknown finds the query parameters that the operation does not have.
func (o *operation) unknown(query url.Values) []problem.FieldError {
	var known []string
	for _, p := range o.parameters {
		if p.in == "query" {
			known = append(known, p.name)
		}
	}
	detail := "is not known; this operation takes no query parameters"
	if len(known) > 0 {
		slices.Sort(known)
		detail = "is not known; known are " + strings.Join(known, ", ")
	}
	var fields []problem.FieldError
	for name := range query {
		if !slices.Contains(known, name) && len(fields) < maxFieldErrors {
			name = strings.ToValidUTF8(name[:min(len(name), 64)], "")
			fields = append(fields, problem.FieldError{Parameter: name, Detail: detail})
		}
	}
	slices.SortFunc(fields, func(a, b problem.FieldError) int { return strings.Compare(a.Parameter, b.Parameter) })
	return fields
}

// read is the parameter's value, its default, or nil, and what is wrong with it.
func (p *parameter) read(r *http.Request, query url.Values) (any, []problem.FieldError) {
	texts := p.texts(r, query)
	if len(texts) == 0 {
		return p.fallback, nil
	}
	var value any
	if p.repeated {
		items := make([]any, len(texts))
		for i, text := range texts {
			items[i] = p.value(text)
		}
		value = items
	} else {
		if len(texts) > 1 {
			return nil, []problem.FieldError{{Parameter: p.name, Detail: "must be given once"}}
		}
		value = p.value(texts[0])
	}
	fields := check(p.schema, value)
	for i := range fields {
		fields[i].Pointer, fields[i].Parameter = "", p.name
	}
	return value, slices.Compact(fields)
}

// texts is what the request has for the parameter, without what is empty.
func (p *parameter) texts(r *http.Request, query url.Values) []string {
	var texts []string
	switch p.in {
	case "path":
		texts = []string{r.PathValue(p.name)}
	case "query":
		texts = query[p.name]
	case "header":
		texts = r.Header.Values(p.name)
	}
	return slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return text == "" })
}

// value is text as the parameter's type, or text itself, which the schema then
// refuses.
func (p *parameter) value(text string) any {
	switch p.typ {
	case "integer", "number":
		if number := json.Number(text); json.Valid([]byte(text)) && checkNumber(number) == nil {
			return number
		}
	case "boolean":
		if text == "true" || text == "false" {
			return text == "true"
		}
	}
	return text
}

// addParameters compiles parameters, which stand in the document at at.
func (o *operation) addParameters(c *jsonschema.Compiler, root map[string]any, params []any, at []string) error {
	for i, param := range params {
		location := append(at[:len(at):len(at)], "parameters", fmt.Sprint(i))
		definition := object(param)
		if ref, ok := definition["$ref"].(string); ok {
			location = strings.Split(strings.TrimPrefix(ref, "#/"), "/")
			definition = object(resolve(root, location))
		}
		schema, err := c.Compile(documentURL + "#" + fragment(append(location, "schema")))
		if err != nil {
			return err
		}
		p := parameter{schema: schema}
		p.name, _ = definition["name"].(string)
		p.in, _ = definition["in"].(string)
		p.fallback = object(definition["schema"])["default"]
		p.typ = typeOf(schema)
		if p.typ == "array" {
			p.repeated, p.typ = true, typeOf(schema.Items2020)
		}
		o.parameters = append(o.parameters, p)
	}
	return nil
}

// typeOf is the one JSON type that a schema allows, "" if there are several.
func typeOf(schema *jsonschema.Schema) string {
	for schema != nil && schema.Types == nil {
		schema = schema.Ref
	}
	if schema == nil {
		return ""
	}
	if types := schema.Types.ToStrings(); len(types) == 1 {
		return types[0]
	}
	return ""
}

// resolve follows tokens through the document.
func resolve(node any, tokens []string) any {
	for _, token := range tokens {
		node = object(node)[token]
	}
	return node
}

// fragment is tokens as a JSON pointer in a URL's fragment.
func fragment(tokens []string) string {
	return (&url.URL{Fragment: pointer(tokens)}).EscapedFragment()
}
