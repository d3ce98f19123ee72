package workfolder

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/graf-run/graf/shared/manifest"
)

// Bounds of what Graf takes.
const (
	maxManifests = 50
	// maxReport is less than the 1 MiB of a request, maxDiff than the 256 KiB of a
	// diff: what is masked may become longer.
	maxReport = 900 << 10
	maxDiff   = 240 << 10
)

// Report is what has become of resources: a state, or a change. Both empty is
// nothing.
type Report struct {
	// Manifests are the submitted resources as they are now, nil for a change.
	Manifests []json.RawMessage
	Diff      string
}

// Compare tells what an agent did to the resources in its folder. Where that is
// about those that the task was submitted with, or new ones, it is their state: Graf
// knows what they were. Otherwise, and where they are too many, it is the change.
// mask takes secrets out of a text.
func Compare(submitted, before, after []manifest.Object, mask func(string) string) (Report, error) {
	removed, added := without(before, after), without(after, before)
	if len(removed) == 0 && len(added) == 0 {
		return Report{}, nil
	}
	known := identities(submitted)
	foreign := slices.ContainsFunc(removed, func(o manifest.Object) bool { return !known[o.Ref.Identity()] })
	if len(submitted) > 0 && !foreign {
		manifests, err := state(submitted, removed, added, after, mask)
		if err != nil || manifests != nil {
			return Report{Manifests: manifests}, err
		}
	}
	diff := mask(manifest.Compare(removed, added).Unified)
	return Report{Diff: bounded(diff)}, nil
}

// bounded is the beginning of a diff that Graf takes, also as JSON writes it.
func bounded(diff string) string {
	for most := maxDiff; ; most /= 2 {
		diff = strings.ToValidUTF8(diff[:min(len(diff), most)], "")
		if encoded, err := json.Marshal(diff); err == nil && len(encoded) <= maxReport {
			return diff
		}
	}
}

// without are those objects of a that are not in b as they are. Several may have one
// name, as overlays have.
func without(a, b []manifest.Object) []manifest.Object {
	count := map[string]int{}
	for _, object := range b {
		count[object.Digest()]++
	}
	var rest []manifest.Object
	for _, object := range a {
		if digest := object.Digest(); count[digest] > 0 {
			count[digest]--
		} else {
			rest = append(rest, object)
		}
	}
	return rest
}

func identities(objects []manifest.Object) map[manifest.Ref]bool {
	set := map[manifest.Ref]bool{}
	for _, object := range objects {
		set[object.Ref.Identity()] = true
	}
	return set
}

// state is the submitted resources with what was done to them, nil if they are too
// many.
func state(submitted, removed, added, after []manifest.Object, mask func(string) string) ([]json.RawMessage, error) {
	gone, there, changed := identities(removed), identities(after), identities(added)
	now := []json.RawMessage{}
	for _, object := range submitted {
		if id := object.Ref.Identity(); !changed[id] && (!gone[id] || there[id]) {
			now = append(now, object.JSON())
		}
	}
	for _, object := range added {
		id := object.Ref.Identity()
		if !changed[id] {
			continue // a second one by that name
		}
		changed[id] = false
		masked, err := maskedJSON(object, mask)
		if err != nil {
			return nil, err
		}
		now = append(now, masked)
	}
	encoded, err := json.Marshal(now) // as it is sent: with <, > and & escaped
	if err != nil {
		return nil, fmt.Errorf("encode the manifests: %w", err)
	}
	if len(now) > maxManifests || len(encoded) > maxReport {
		return nil, nil
	}
	return now, nil
}

// maskedJSON is a resource whose texts have no secrets in them. Those of Secrets are
// digests already.
func maskedJSON(object manifest.Object, mask func(string) string) (json.RawMessage, error) {
	var content any
	decoder := json.NewDecoder(strings.NewReader(string(object.JSON())))
	decoder.UseNumber() // not to round
	if err := decoder.Decode(&content); err != nil {
		return nil, fmt.Errorf("mask %s: %w", object.Ref, err)
	}
	encoded, err := json.Marshal(masked(content, mask))
	if err != nil {
		return nil, fmt.Errorf("mask %s: %w", object.Ref, err)
	}
	return encoded, nil
}

func masked(value any, mask func(string) string) any {
	switch value := value.(type) {
	case string:
		return mask(value)
	case []any:
		for i := range value {
			value[i] = masked(value[i], mask)
		}
	case map[string]any:
		for name := range value {
			value[name] = masked(value[name], mask)
		}
	}
	return value
}
