package main

import (
	"errors"
	"fmt"
	"strings"
)

// path leads to a field of a manifest: keys with dots between them, where
// containers[name=web] is the item of a list with that field. A dot within a
// key is written "\.".
type path []segment

// segment is one key, and with selectKey the item of the list under it.
type segment struct {
	key                  string
	selectKey, selectFor string
}

func (s segment) String() string {
	key := strings.ReplaceAll(s.key, ".", `\.`)
	if s.selectKey == "" {
		return key
	}
	return fmt.Sprintf("%s[%s=%s]", key, s.selectKey, s.selectFor)
}

func (p path) String() string {
	parts := make([]string, len(p))
	for i, s := range p {
		parts[i] = s.String()
	}
	return strings.Join(parts, ".")
}

func parsePath(text string) (path, error) {
	var p path
	for _, part := range splitPath(text) {
		s, err := parseSegment(part)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", text, err)
		}
		p = append(p, s)
	}
	return p, nil
}

// splitPath cuts at the dots that are neither in brackets nor after a backslash.
func splitPath(text string) []string {
	var parts []string
	var part strings.Builder
	depth, escaped := 0, false
	for _, r := range text {
		switch {
		case escaped:
			escaped = false
			part.WriteRune(r)
			continue
		case r == '\\':
			escaped = true
			continue
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == '.' && depth == 0:
			parts = append(parts, part.String())
			part.Reset()
			continue
		}
		part.WriteRune(r)
	}
	return append(parts, part.String())
}

func parseSegment(text string) (segment, error) {
	key, selector, hasSelector := strings.Cut(text, "[")
	if key == "" {
		return segment{}, errors.New("a key is empty; write keys with one dot between them")
	}
	if !hasSelector {
		return segment{key: key}, nil
	}
	field, value, ok := strings.Cut(strings.TrimSuffix(selector, "]"), "=")
	if !ok || field == "" || value == "" || !strings.HasSuffix(selector, "]") {
		return segment{}, fmt.Errorf("[%s does not say which item of the list; write it as [name=web]", selector)
	}
	return segment{key: key, selectKey: field, selectFor: value}, nil
}

// set puts value where the path leads and returns what was there, nil for
// nothing. It makes maps that are missing, but not items of lists.
func (p path) set(object map[string]any, value any) (before any, err error) {
	at := object
	for i, s := range p {
		if i == len(p)-1 && s.selectKey == "" {
			before, at[s.key] = at[s.key], value
			return before, nil
		}
		if at, err = s.enter(at); err != nil {
			return nil, fmt.Errorf("%s: %w", p[:i+1], err)
		}
	}
	return nil, fmt.Errorf("%s is an item of a list; name a field of it", p)
}

// enter is the map that the segment leads to.
func (s segment) enter(at map[string]any) (map[string]any, error) {
	if s.selectKey != "" {
		return s.item(at[s.key])
	}
	switch next := at[s.key].(type) {
	case nil:
		made := map[string]any{}
		at[s.key] = made
		return made, nil
	case map[string]any:
		return next, nil
	default:
		return nil, errors.New("has no fields")
	}
}

func (s segment) item(value any) (map[string]any, error) {
	list, _ := value.([]any)
	var have []string
	for _, entry := range list {
		item, ok := entry.(map[string]any)
		if !ok {
			continue
		}
		if fmt.Sprint(item[s.selectKey]) == s.selectFor {
			return item, nil
		}
		have = append(have, fmt.Sprint(item[s.selectKey]))
	}
	if len(have) == 0 {
		return nil, errors.New("there is no such list, or nothing in it")
	}
	return nil, fmt.Errorf("there is no such item; there is %s", strings.Join(have, ", "))
}
