package manifest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Op says what happened to a resource.
type Op string

// What can happen to a resource.
const (
	Created  Op = "created"
	Deleted  Op = "deleted"
	Modified Op = "modified"
)

// Diff is how two sets of resources differ.
type Diff struct {
	// Digest names the change: the same resources before and after give the same digest on any machine. Resources
	// that did not change do not matter.
	Digest string `json:"digest"`
	// Changes has one entry for each resource that differs, by name. Empty for a diff made from text.
	Changes []Change `json:"changes"`
	// Unified is for people: a unified diff of the resources as YAML, cut at MaxUnified bytes.
	Unified string `json:"unified"`
	// Summary says in a sentence or a few what changed, at most MaxSummary bytes.
	Summary string `json:"summary"`
}

// Change is how one resource differs.
type Change struct {
	Ref Ref `json:"ref"`
	Op  Op  `json:"op"`
	// Fields are those that differ in a modified resource, at most 200.
	Fields []Field `json:"fields,omitempty"`
}

// Field is a value that differs. Old or New is nil where there is none; long ones are cut.
type Field struct {
	// Path leads to the value: spec.template.spec.containers[name=app].image.
	Path string `json:"path"`
	Old  any    `json:"old,omitempty"`
	New  any    `json:"new,omitempty"`

	steps []step
}

// Empty says that nothing differs.
func (d Diff) Empty() bool { return len(d.Changes) == 0 && d.Unified == "" }

// Pair is a resource before and after; nil where there is none.
type Pair struct{ Before, After *Object }

// Ref names it, as it is after if it is there then.
func (p Pair) Ref() Ref {
	if p.After != nil {
		return p.After.Ref
	}
	return p.Before.Ref
}

// Op is what became of it.
func (p Pair) Op() Op {
	switch {
	case p.Before == nil:
		return Created
	case p.After == nil:
		return Deleted
	default:
		return Modified
	}
}

// Compare tells how the resources differ. Order does not matter; of two objects with one name the later counts.
func Compare(before, after []Object) Diff {
	pairs := Changed(before, after)
	diff := Diff{Changes: make([]Change, 0, len(pairs))}
	var identity strings.Builder
	unified := &limited{most: MaxUnified}
	var phrases []string
	for _, pair := range pairs {
		change := Change{Ref: pair.Ref(), Op: pair.Op()}
		if change.Op == Modified {
			change.Fields = compareFields(pair.Before.content, pair.After.content)
		}
		diff.Changes = append(diff.Changes, change)
		fmt.Fprintf(&identity, "%s %q %s %s\n", change.Op, change.Ref.path(), digestOf(pair.Before), digestOf(pair.After))
		unified.write(pair.unified)
		phrases = append(phrases, summarize(change, pair))
	}
	diff.Digest = digest([]byte(identity.String()))
	diff.Unified = unified.String()
	diff.Summary = joinPhrases(phrases, "\n", MaxSummary)
	return diff
}

// FromText takes a unified diff that somebody else made, as it is.
func FromText(text string) (Diff, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return Diff{}, errors.New("the diff is empty")
	case len(text) > MaxUnified:
		return Diff{}, fmt.Errorf("the diff has %d bytes, at most %d are allowed", len(text), MaxUnified)
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return Diff{}, errors.New("the diff is not valid UTF-8 text")
	}
	return Diff{Changes: []Change{}, Digest: digest([]byte(text)), Unified: text, Summary: summarizeText(text)}, nil
}

// Changed pairs resources by name and leaves out those that are equal.
func Changed(before, after []Object) []Pair {
	paired := map[Ref]Pair{}
	for i := range before {
		paired[before[i].Ref.Identity()] = Pair{Before: &before[i]}
	}
	for i := range after {
		key := after[i].Ref.Identity()
		paired[key] = Pair{Before: paired[key].Before, After: &after[i]}
	}
	maps.DeleteFunc(paired, func(_ Ref, p Pair) bool {
		return p.Before != nil && p.After != nil && string(p.Before.bytes) == string(p.After.bytes)
	})
	return slices.SortedFunc(maps.Values(paired), func(a, b Pair) int { return CompareRefs(a.Ref(), b.Ref()) })
}

func digestOf(object *Object) string {
	if object == nil {
		return "none"
	}
	return object.Digest()
}
