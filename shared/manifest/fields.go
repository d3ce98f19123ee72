package manifest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// mergeKeys are the fields that name an item of a list, by the list's name, as Kubernetes' types declare them
// (patchMergeKey and listMapKey). The first one that every item has, and that is unique, is taken.
var mergeKeys = map[string][]string{
	"ports":                     {"containerPort", "port", "name"},
	"volumeMounts":              {"mountPath"},
	"volumeDevices":             {"devicePath"},
	"hostAliases":               {"ip"},
	"topologySpreadConstraints": {"topologyKey"},
	"ownerReferences":           {"uid", "name"},
	"conditions":                {"type"},
	"tolerations":               {"key"},
	"items":                     {"key", "name"},
	"matchExpressions":          {"key"},
}

// otherMergeKeys serve every other list: containers, env, volumes, and whatever custom resources have.
var otherMergeKeys = []string{"name", "key", "id"}

// compareFields lists the values that differ, by path.
func compareFields(before, after map[string]any) []Field {
	c := &comparison{}
	c.maps(nil, before, after)
	return c.fields
}

type comparison struct{ fields []Field }

func (c *comparison) add(path []step, before, after any) {
	if len(c.fields) < maxFields {
		c.fields = append(c.fields, Field{Path: pathText(path), Old: bounded(before), New: bounded(after), steps: path})
	}
}

// values compares two values, of which nil is none. name is the last key of the path.
func (c *comparison) values(path []step, name string, before, after any) {
	switch old := before.(type) {
	case map[string]any:
		if fresh, ok := after.(map[string]any); ok {
			c.maps(path, old, fresh)
			return
		}
	case []any:
		if fresh, ok := after.([]any); ok {
			c.lists(path, name, old, fresh)
			return
		}
	}
	if !reflect.DeepEqual(before, after) {
		c.add(path, before, after)
	}
}

func (c *comparison) maps(path []step, before, after map[string]any) {
	keys := slices.Collect(maps.Keys(before))
	for key := range after {
		if _, both := before[key]; !both {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		c.values(to(path, step{name: key}), key, before[key], after[key])
	}
}

func (c *comparison) lists(path []step, name string, before, after []any) {
	if reflect.DeepEqual(before, after) {
		return
	}
	if key := mergeKey(name, before, after); key != "" {
		c.keyed(path, key, before, after)
		return
	}
	if len(before) != len(after) {
		c.add(path, before, after)
		return
	}
	for i := range before {
		c.values(to(path, step{name: strconv.Itoa(i), list: true}), "", before[i], after[i])
	}
}

// keyed compares lists whose items have names.
func (c *comparison) keyed(path []step, key string, before, after []any) {
	oldItems, oldNames := byName(key, before)
	newItems, newNames := byName(key, after)
	item := func(name string) []step { return to(path, step{name: name, key: key, list: true}) }
	for _, name := range oldNames {
		c.values(item(name), "", oldItems[name], newItems[name])
	}
	for _, name := range newNames {
		if _, both := oldItems[name]; !both {
			c.add(item(name), nil, newItems[name])
		}
	}
	// Order can matter: a variable of a container may refer to earlier ones.
	oldNames = slices.DeleteFunc(oldNames, func(name string) bool { return newItems[name] == nil })
	newNames = slices.DeleteFunc(newNames, func(name string) bool { return oldItems[name] == nil })
	if !slices.Equal(oldNames, newNames) {
		c.add(path, "order: "+strings.Join(oldNames, ", "), "order: "+strings.Join(newNames, ", "))
	}
}

// mergeKey is the field that names the items of both lists, or "".
func mergeKey(list string, before, after []any) string {
	candidates, known := mergeKeys[list]
	if !known {
		candidates = otherMergeKeys
	}
	for _, key := range candidates {
		if names(key, before) && names(key, after) {
			return key
		}
	}
	return ""
}

// names says whether the key names each item: all have it, as text or a number, and no two have the same.
func names(key string, items []any) bool {
	seen := make(map[string]bool, len(items))
	for _, item := range items {
		name, ok := nameOf(key, item)
		if !ok || seen[name] {
			return false
		}
		seen[name] = true
	}
	return true
}

func nameOf(key string, item any) (string, bool) {
	fields, _ := item.(map[string]any)
	switch name := fields[key].(type) {
	case string:
		return name, true
	case int64:
		return fmt.Sprint(name), true
	default:
		return "", false
	}
}

func byName(key string, items []any) (map[string]any, []string) {
	named := make(map[string]any, len(items))
	order := make([]string, 0, len(items))
	for _, item := range items {
		name, _ := nameOf(key, item)
		named[name] = item
		order = append(order, name)
	}
	return named, order
}

// bounded returns a value, or as much of its text as is allowed.
func bounded(value any) any {
	switch value := value.(type) {
	case string:
		return shortened(value, maxValue)
	case map[string]any, []any:
		encoded, err := encode(value)
		if err == nil && len(encoded) > maxValue {
			return shortened(string(encoded), maxValue)
		}
	}
	return value
}
