package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"sigs.k8s.io/yaml"
)

// manifest is one resource.
type manifest map[string]any

// loadManifests reads every resource in the folder, in the order of the files' names.
// The folder may be read-only: changes are made in memory.
func loadManifests(folder string) ([]manifest, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var list []manifest
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, document := range bytes.Split(data, []byte("\n---\n")) {
			var m manifest
			if err := yaml.Unmarshal(document, &m); err != nil {
				return nil, fmt.Errorf("manifest %s: %w", filepath.Base(file), err)
			}
			if len(m) > 0 {
				list = append(list, m)
			}
		}
	}
	if len(list) == 0 {
		return nil, errors.New("there are no manifests: submit the task with the resources as they are")
	}
	return list, nil
}

// find returns the one resource of that kind and name; namespace may be empty.
func find(list []manifest, kind, namespace, name string) (manifest, error) {
	var found []manifest
	var have []string
	for _, m := range list {
		have = append(have, m.String())
		if m["kind"] == kind && m.metadata("name") == name && (namespace == "" || m.metadata("namespace") == namespace) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("no %s %s among the manifests; there is %q", kind, name, have)
	default:
		return nil, fmt.Errorf("%d resources are a %s %s: say which one with --namespace", len(found), kind, name)
	}
}

func (m manifest) metadata(key string) string {
	metadata, _ := m["metadata"].(map[string]any)
	text, _ := metadata[key].(string)
	return text
}

// String names the resource: "Deployment knative-eventing/mt-broker-filter".
func (m manifest) String() string {
	name := m.metadata("name")
	if namespace := m.metadata("namespace"); namespace != "" {
		name = namespace + "/" + name
	}
	return fmt.Sprint(m["kind"], " ", name)
}

// copied is a deep copy, on which a change can be tried.
func (m manifest) copied() (manifest, error) {
	encoded, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	var c manifest
	return c, json.Unmarshal(encoded, &c)
}

// parseValue reads a value as YAML does: 3 is a number, true a boolean, 512Mi text.
func parseValue(text string) (any, error) {
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return nil, fmt.Errorf("value %q: %w", text, err)
	}
	return value, nil
}

// change sets the field and checks what has become of the resource. It returns
// what the field was before, nil for nothing; on an error m may be changed.
func (m manifest) change(field path, text string) (before any, err error) {
	value, err := parseValue(text)
	if err != nil {
		return nil, err
	}
	if before, err = field.set(m, value); err != nil {
		return nil, err
	}
	return before, checkResources(m)
}
