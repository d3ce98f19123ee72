package manifest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
)

// Reversion is what takes back a change of one resource.
type Reversion struct {
	Ref Ref
	// Op is what to do with the resource: Deleted what was created, Created what was deleted, Modified what was modified.
	Op Op
	// Content is what to write, for Created and Modified: the resource as it lives, but with the old values of the
	// fields that were changed.
	Content map[string]any
	// Nothing is whether the resource is already as it was before.
	Nothing bool
	// Conflicts are the fields that somebody has changed since: Old is what the change left, New is what is there now.
	Conflicts []Field
	// Lost are the paths of values that cannot be brought back, because only digests of them were kept.
	Lost []string
}

// Possible reports whether the change can be taken back as a whole.
func (r Reversion) Possible() bool { return len(r.Conflicts)+len(r.Lost) == 0 }

// Revert tells how to take back the change from before to after, either of which is nil where there was no resource.
// live is the resource as the API server has it now, nil for none; it is not changed. It is a merge of three: what
// others have changed since in other fields stays. salt is that of the objects.
func Revert(before, after *Object, live map[string]any, salt []byte) (Reversion, error) {
	change := Pair{before, after}
	r := reverter{salt: salt, result: Reversion{Ref: change.Ref()}}
	switch change.Op() {
	case Created:
		return r.remove(after, live)
	case Deleted:
		return r.recreate(before, live)
	default:
		return r.modify(before, after, live)
	}
}

type reverter struct {
	salt   []byte
	result Reversion
}

func (r *reverter) remove(after *Object, live map[string]any) (Reversion, error) {
	r.result.Op = Deleted
	if live == nil {
		r.result.Nothing = true
		return r.result, nil
	}
	now, err := New(live, r.salt)
	if err != nil {
		return Reversion{}, fmt.Errorf("%s: %w", after.Ref, err)
	}
	r.result.Conflicts = compareFields(after.content, now.content)
	return r.result, nil
}

func (r *reverter) recreate(before *Object, live map[string]any) (Reversion, error) {
	r.result.Op = Created
	if live != nil {
		now, err := New(live, r.salt)
		if err != nil {
			return Reversion{}, fmt.Errorf("%s: %w", before.Ref, err)
		}
		if r.result.Nothing = string(now.bytes) == string(before.bytes); !r.result.Nothing {
			r.result.Conflicts = []Field{{Path: "metadata.name", New: "created again"}}
		}
		return r.result, nil
	}
	r.lose(nil, before.content)
	r.result.Content = before.content
	return r.result, nil
}

func (r *reverter) modify(before, after *Object, live map[string]any) (Reversion, error) {
	r.result.Op = Modified
	if live == nil {
		r.result.Conflicts = []Field{{Path: "metadata.name", Old: after.Ref.Name}}
		return r.result, nil
	}
	nodes := 0
	now, err := normalizeMap(live, "", 1, &nodes)
	if err != nil {
		return Reversion{}, fmt.Errorf("%s: %w", after.Ref, err)
	}
	content, _ := r.value(nil, "", now, before.content, after.content).(map[string]any)
	r.result.Content = content
	r.result.Nothing = reflect.DeepEqual(content, now)
	return r.result, nil
}

// value is what live becomes when the change from before to after is taken back; nil is none. name is the last key of
// the path. It returns live itself where there is nothing to do.
func (r *reverter) value(path []step, name string, live, before, after any) any {
	switch {
	case reflect.DeepEqual(before, after), reflect.DeepEqual(live, before):
		return live
	case allMaps(live, before, after):
		return r.maps(path, asMap(live), asMap(before), asMap(after))
	case before == nil && allMaps(live, after) && !path[len(path)-1].list: // Others may have added to what the change added.
		if left := r.maps(path, asMap(live), nil, asMap(after)); len(left) > 0 {
			return left
		}
		return nil
	case allLists(live, before, after):
		l, b, a := asList(live), asList(before), asList(after)
		if key := mergeKey(name, b, a); key != "" && names(key, l) {
			return r.keyed(path, key, l, b, a)
		}
	}
	if !r.same(live, after) {
		r.result.Conflicts = append(r.result.Conflicts, Field{Path: pathText(path), Old: bounded(after), New: bounded(live), steps: path})
		return live
	}
	r.lose(path, before)
	return before
}

func allMaps(values ...any) bool {
	return !slices.ContainsFunc(values, func(v any) bool { _, ok := v.(map[string]any); return !ok })
}

func allLists(values ...any) bool {
	return !slices.ContainsFunc(values, func(v any) bool { _, ok := v.([]any); return !ok })
}

func (r *reverter) maps(path []step, live, before, after map[string]any) map[string]any {
	reverted := maps.Clone(live)
	for _, key := range union(before, after) {
		value := r.value(to(path, step{name: key}), key, live[key], before[key], after[key])
		if value == nil {
			delete(reverted, key)
		} else {
			reverted[key] = value
		}
	}
	return reverted
}

// union are the keys of either map, sorted.
func union(a, b map[string]any) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

// keyed takes back the changes of a list whose items have names. Items stay in their present order; one that comes back
// goes behind the one that it followed.
func (r *reverter) keyed(path []step, key string, live, before, after []any) []any {
	liveItems, liveNames := byName(key, live)
	oldItems, oldNames := byName(key, before)
	newItems, newNames := byName(key, after)
	reverted := make([]any, 0, len(live))
	var order []string
	for _, name := range liveNames {
		at := to(path, step{name: name, key: key, list: true})
		if value := r.value(at, "", liveItems[name], oldItems[name], newItems[name]); value != nil {
			reverted, order = append(reverted, value), append(order, name)
		}
	}
	for i, name := range oldNames {
		if liveItems[name] != nil {
			continue
		}
		at := to(path, step{name: name, key: key, list: true})
		if value := r.value(at, "", nil, oldItems[name], newItems[name]); value != nil {
			behind := 0
			if i > 0 {
				behind = slices.Index(order, oldNames[i-1]) + 1
			}
			reverted, order = slices.Insert(reverted, behind, value), slices.Insert(order, behind, name)
		}
	}
	// The order is taken back if the change made it, and nobody made another since.
	left := common(common(newNames, oldItems), liveItems)
	if slices.Equal(common(common(oldNames, newItems), liveItems), left) || !slices.Equal(common(common(order, newItems), oldItems), left) {
		return reverted
	}
	return inOrder(reverted, order, oldNames)
}

// common are the names that others have too, in their order.
func common(names []string, others map[string]any) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return others[name] == nil })
}

// inOrder puts the items that want names into that order, and leaves the others behind them.
func inOrder(items []any, names, want []string) []any {
	rank := func(name string) int {
		if i := slices.Index(want, name); i >= 0 {
			return i
		}
		return len(want)
	}
	indexes := make([]int, len(items))
	for i := range indexes {
		indexes[i] = i
	}
	slices.SortStableFunc(indexes, func(a, b int) int { return rank(names[a]) - rank(names[b]) })
	sorted := make([]any, len(items))
	for i, index := range indexes {
		sorted[i] = items[index]
	}
	return sorted
}

// same compares what lives with what the change left, whose secrets are digests.
func (r *reverter) same(live, after any) bool {
	switch after := after.(type) {
	case map[string]any:
		now, ok := live.(map[string]any)
		return ok && len(now) == len(after) && !containsKey(after, func(key string) bool { return !r.same(now[key], after[key]) })
	case []any:
		now, ok := live.([]any)
		return ok && slices.EqualFunc(now, after, r.same)
	case string:
		if now, ok := live.(string); ok && digested.MatchString(after) {
			return redactedValue(now, true, r.salt) == after || redactedValue(now, false, r.salt) == after
		}
	}
	return reflect.DeepEqual(live, after)
}

func containsKey(m map[string]any, is func(string) bool) bool {
	for key := range m {
		if is(key) {
			return true
		}
	}
	return false
}

// lose notes the digests in a value that is to be written: what they stand for was not kept.
func (r *reverter) lose(path []step, value any) {
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			r.lose(to(path, step{name: key}), value[key])
		}
	case []any:
		for i, item := range value {
			r.lose(to(path, step{name: strconv.Itoa(i), list: true}), item)
		}
	case string:
		if digested.MatchString(value) {
			r.result.Lost = append(r.result.Lost, pathText(path))
		}
	}
}

func asMap(value any) map[string]any {
	m, _ := value.(map[string]any)
	return m
}

func asList(value any) []any {
	list, _ := value.([]any)
	return list
}
