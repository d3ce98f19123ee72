// Package manifest reads what kustomize makes of an overlay, as plain objects.
package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Object is a Kubernetes object in JSON's terms.
type Object map[string]any

// building keeps builds apart: kustomize has a schema that all of them write to.
var building sync.Mutex

// Build runs kustomize, the library, on a folder.
func Build(folder string) ([]Object, error) {
	building.Lock()
	defer building.Unlock()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, fmt.Errorf("kustomize %s: %w", folder, err)
	}
	objects := make([]Object, 0, built.Size())
	for _, resource := range built.Resources() {
		object, err := resource.Map()
		if err != nil {
			return nil, fmt.Errorf("kustomize %s: %s: %w", folder, resource.OrgId(), err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// APIVersion of the object, such as batch/v1.
func (o Object) APIVersion() string { return text(o["apiVersion"]) }

// Kind of the object.
func (o Object) Kind() string { return text(o["kind"]) }

// Name of the object.
func (o Object) Name() string { return text(o.At("metadata", "name")) }

// Namespace of the object; empty where it has none.
func (o Object) Namespace() string { return text(o.At("metadata", "namespace")) }

// At gives what lies at a path of field names, or nil.
func (o Object) At(path ...string) any {
	var value any = map[string]any(o)
	for _, name := range path {
		fields, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = fields[name]
	}
	return value
}

// Set puts value at a path of field names and makes the fields above it.
func (o Object) Set(value any, path ...string) {
	fields := map[string]any(o)
	for _, name := range path[:len(path)-1] {
		inner, ok := fields[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			fields[name] = inner
		}
		fields = inner
	}
	fields[path[len(path)-1]] = value
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

// Find gives the object of a kind and a name, or nil.
func Find(objects []Object, kind, name string) Object {
	for _, o := range objects {
		if o.Kind() == kind && o.Name() == name {
			return o
		}
	}
	return nil
}

// Split gives the objects of these kinds, and the others.
func Split(objects []Object, kinds ...string) (these, others []Object) {
	for _, o := range objects {
		if slices.Contains(kinds, o.Kind()) {
			these = append(these, o)
		} else {
			others = append(others, o)
		}
	}
	return these, others
}

// List makes one object of many, as kubectl takes it.
func List(objects []Object) ([]byte, error) {
	return json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
}
