// Package eventing holds how Graf's stages are joined: the Broker, the Triggers
// and the sources as Knative resources, and the JSON Schema of every event's
// data. A cluster applies the same files that the local broker reads.
package eventing

import (
	"embed"
	"fmt"
	"io/fs"
)

// Manifests holds the numbered *.yaml files of this folder: Broker, Triggers,
// sources, and what the sources need. The numbers in their names are the order
// to apply them in.
//
//go:embed [1-9]*.yaml
var Manifests embed.FS

//go:embed temporal/[1-9]*.yaml
var temporal embed.FS

// Temporal returns what is applied besides where the Temporal worker is deployed:
// its Triggers, in numbered *.yaml files.
func Temporal() fs.FS {
	sub, err := fs.Sub(temporal, "temporal")
	if err != nil {
		// The folder is embedded above, so this cannot fail.
		panic(err)
	}
	return sub
}

//go:embed schemas/*.json
var schemas embed.FS

// Schemas returns the JSON Schemas (2020-12), one file named <type>.json for
// each event type.
func Schemas() fs.FS {
	sub, err := fs.Sub(schemas, "schemas")
	if err != nil {
		// The folder is embedded above, so this cannot fail.
		panic(err)
	}
	return sub
}

// Schema returns the JSON Schema of the data of events of the given type. Its
// error wraps [fs.ErrNotExist] if the type has none.
func Schema(eventType string) ([]byte, error) {
	data, err := fs.ReadFile(Schemas(), eventType+".json")
	if err != nil {
		return nil, fmt.Errorf("no schema for event type %q: %w", eventType, err)
	}
	return data, nil
}
