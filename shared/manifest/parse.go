package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"
)

// Parse reads resources from YAML of one or several documents or from JSON (one or several values, or an array), and
// takes lists (kind: List) apart. Empty documents are passed over. Errors name the document, counted from 1. For salt
// see [New].
func Parse(data []byte, salt []byte) ([]Object, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("manifests have %d bytes, at most %d are allowed", len(data), MaxBytes)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("manifests are not valid UTF-8")
	}
	documents, err := decode(data)
	if err != nil {
		return nil, err
	}
	p := parser{salt: salt, seen: map[Ref]int{}}
	for i, document := range documents {
		if err := p.add(document, i+1); err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
	}
	return p.objects, nil
}

// Resources makes objects of a decoded resource, or of each resource of a list (kind: List, SecretList …). For salt see
// [New].
func Resources(content map[string]any, salt []byte) ([]Object, error) {
	p := parser{salt: salt, seen: map[Ref]int{}}
	if err := p.add(content, 1); err != nil {
		return nil, err
	}
	return p.objects, nil
}

type parser struct {
	salt    []byte
	seen    map[Ref]int
	objects []Object
}

// add takes a resource, or every resource of a list.
func (p *parser) add(value any, document int) error {
	switch value := value.(type) {
	case nil:
		return nil
	case []any:
		return p.addItems(value, document)
	case map[string]any:
		kind, _ := value["kind"].(string)
		if items, ok := value["items"].([]any); ok && strings.HasSuffix(kind, "List") {
			return p.addItems(itemsOf(value, strings.TrimSuffix(kind, "List"), items), document)
		}
		return p.addObject(value, document)
	default:
		return errors.New("a resource must be a mapping with apiVersion, kind and metadata")
	}
}

// itemsOf are a list's items, each with the kind and version that the items of a typed list leave to the list.
func itemsOf(list map[string]any, kind string, items []any) []any {
	if kind == "" {
		return items
	}
	complete := make([]any, len(items))
	for i, item := range items {
		complete[i] = item
		if content, ok := item.(map[string]any); ok && content["kind"] == nil {
			content = maps.Clone(content)
			content["kind"] = kind
			if content["apiVersion"] == nil {
				content["apiVersion"] = list["apiVersion"]
			}
			complete[i] = content
		}
	}
	return complete
}

func (p *parser) addItems(items []any, document int) error {
	for i, item := range items {
		content, ok := item.(map[string]any)
		if !ok {
			return fmt.Errorf("items[%d] is not a resource", i)
		}
		if err := p.add(content, document); err != nil {
			return fmt.Errorf("items[%d]: %w", i, err)
		}
	}
	return nil
}

func (p *parser) addObject(content map[string]any, document int) error {
	object, err := New(content, p.salt)
	if err != nil {
		return err
	}
	if earlier, seen := p.seen[object.Ref.Identity()]; seen {
		return fmt.Errorf("%s was in document %d already", object.Ref, earlier)
	}
	if len(p.objects) == MaxObjects {
		return fmt.Errorf("more than %d resources", MaxObjects)
	}
	p.seen[object.Ref.Identity()] = document
	p.objects = append(p.objects, object)
	return nil
}

// decode reads JSON where the text looks like it and is, YAML otherwise.
func decode(data []byte) ([]any, error) {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	looksLikeJSON := len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[')
	var jsonErr error
	if looksLikeJSON {
		documents, err := decodeJSON(trimmed)
		if err == nil {
			return documents, nil
		}
		jsonErr = err
	}
	documents, err := decodeYAML(data)
	if err != nil && jsonErr != nil {
		return nil, fmt.Errorf("neither JSON (%w) nor YAML (%w)", jsonErr, err)
	}
	return documents, err
}

func decodeJSON(data []byte) ([]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var documents []any
	for {
		var document any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, err
		}
		documents = append(documents, document)
	}
}

// decodeYAML reads each document as kubectl does: YAML 1.1 by way of JSON, refusing keys that appear twice.
func decodeYAML(data []byte) ([]any, error) {
	var documents []any
	for i, text := range splitYAML(string(data)) {
		encoded, err := yaml.YAMLToJSONStrict([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		values, err := decodeJSON(encoded)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		documents = append(documents, values...)
	}
	return documents, nil
}

// splitYAML cuts a text at its document markers. The YAML package reads only the first document of a text.
func splitYAML(text string) []string {
	var documents []string
	var current strings.Builder
	empty := true
	for line := range strings.Lines(text) {
		rest, marker := strings.CutPrefix(line, "---")
		if !marker {
			rest, marker = strings.CutPrefix(line, "...")
		}
		if marker && (rest == "" || strings.ContainsAny(rest[:1], " \t\r\n")) {
			if !empty {
				documents = append(documents, current.String())
			}
			current.Reset()
			empty = true
			line = rest
		}
		if content := strings.TrimSpace(line); content != "" && content[0] != '#' {
			empty = false
		}
		current.WriteString(line)
	}
	if !empty {
		documents = append(documents, current.String())
	}
	return documents
}
