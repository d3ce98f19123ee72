package manifest

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// plainKey is a key that a path can show without quotes.
var plainKey = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$-]*$`)

// join adds a key to a path: spec.replicas, metadata.labels["app.kubernetes.io/name"].
func join(path, key string) string {
	if !plainKey.MatchString(key) {
		return path + `["` + strings.ReplaceAll(key, `"`, `\"`) + `"]`
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// step is one step on the way to a value: a key of a map, or an item of a list.
type step struct {
	// name is the map's key, or the item's name or number.
	name string
	list bool
	// key is the field that names the list's items; empty when they are numbered.
	key string
}

// to adds a step to a way that others may share.
func to(path []step, next step) []step { return append(slices.Clip(path), next) }

// pathText writes a way as text: spec.template.spec.containers[name=app].image.
func pathText(path []step) string {
	text := ""
	for _, step := range path {
		switch {
		case !step.list:
			text = join(text, step.name)
		case step.key != "":
			text += "[" + step.key + "=" + step.name + "]"
		default:
			text += "[" + step.name + "]"
		}
	}
	return text
}

// shortened cuts text to at most the given bytes, at a character's end, and shows that it did.
func shortened(text string, most int) string {
	const mark = "…"
	if len(text) <= most {
		return text
	}
	cut := most - len(mark)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + mark
}
