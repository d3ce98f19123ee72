package manifest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"
)

// object reads one resource; "" is none.
func object(t *testing.T, text string) *Object {
	t.Helper()
	if text == "" {
		return nil
	}
	objects := parse(t, text)
	return &objects[0]
}

func content(t *testing.T, text string) map[string]any {
	t.Helper()
	if text == "" {
		return nil
	}
	var decoded map[any]any
	if err := yaml.Unmarshal([]byte(text), &decoded); err != nil {
		t.Fatal(err)
	}
	return stringKeys(decoded).(map[string]any)
}

func stringKeys(value any) any {
	switch value := value.(type) {
	case map[any]any:
		m := map[string]any{}
		for key, item := range value {
			m[fmt.Sprint(key)] = stringKeys(item)
		}
		return m
	case []any:
		for i := range value {
			value[i] = stringKeys(value[i])
		}
	}
	return value
}

// digestedText finds digests of secrets in a text.
var digestedText = regexp.MustCompile(`sha256-salted:[0-9a-f]{64}`)

func TestRevert(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: web}\n"
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: web}\n"
	for name, c := range map[string]struct {
		before, after, live string
		op                  Op
		// want is the content as YAML of one line each; "" for none.
		want      string
		conflicts []string
		lost      []string
	}{
		"a value": {
			head + "data: {a: '1', b: '1'}", head + "data: {a: '2', b: '1'}",
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: web, resourceVersion: '7'}\ndata: {a: '2', b: '9', c: '3'}",
			Modified, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: web, resourceVersion: '7'}\ndata: {a: '1', b: '9', c: '3'}",
			nil, nil,
		},
		"a value that somebody changed since": {
			head + "data: {a: '1'}", head + "data: {a: '2'}", head + "data: {a: '3'}",
			Modified, head + "data: {a: '3'}", []string{"data.a"}, nil,
		},
		"a value that is back already": {head + "data: {a: '1'}", head + "data: {a: '2'}", head + "data: {a: '1'}", Modified, head + "data: {a: '1'}", nil, nil},
		"a value that was added":       {head, head + "data: {a: '2'}", head + "data: {a: '2', b: '1'}", Modified, head + "data: {b: '1'}", nil, nil},
		"a value that was removed":     {head + "data: {a: '1', b: '1'}", head + "data: {b: '1'}", head + "data: {b: '2'}", Modified, head + "data: {a: '1', b: '2'}", nil, nil},
		"a whole map that was added":   {head, head + "data: {a: '2'}", head + "data: {a: '2'}", Modified, head, nil, nil},
		"items by their names": {
			head + "spec: {containers: [{name: a, image: x}, {name: b, image: x}, {name: c, image: x}]}",
			head + "spec: {containers: [{name: a, image: y}, {name: c, image: x}, {name: d, image: x}]}",
			head + "spec: {containers: [{name: a, image: y, tty: true}, {name: s, image: z}, {name: c, image: x}, {name: d, image: x}]}",
			Modified,
			head + "spec: {containers: [{name: a, image: x, tty: true}, {name: b, image: x}, {name: s, image: z}, {name: c, image: x}]}",
			nil, nil,
		},
		"the order of items": {
			head + "spec: {env: [{name: a, value: x}, {name: b, value: x}]}",
			head + "spec: {env: [{name: b, value: x}, {name: a, value: x}]}",
			head + "spec: {env: [{name: b, value: x}, {name: a, value: x}, {name: c, value: x}]}",
			Modified, head + "spec: {env: [{name: a, value: x}, {name: b, value: x}, {name: c, value: x}]}", nil, nil,
		},
		"an item that was added and changed since": {
			head + "spec: {env: []}", head + "spec: {env: [{name: a, value: x}]}", head + "spec: {env: [{name: a, value: other}]}",
			Modified, head + "spec: {env: [{name: a, value: other}]}", []string{"spec.env[name=a]"}, nil,
		},
		"a list without names": {
			head + "spec: {args: [a, b]}", head + "spec: {args: [a]}", head + "spec: {args: [a]}", Modified, head + "spec: {args: [a, b]}", nil, nil,
		},
		"what was created":                    {"", head + "data: {a: '1'}", head + "data: {a: '1'}", Deleted, "", nil, nil},
		"what was created and changed since":  {"", head + "data: {a: '1'}", head + "data: {a: '2'}", Deleted, "", []string{"data.a"}, nil},
		"what was created and is gone":        {"", head + "data: {a: '1'}", "", Deleted, "", nil, nil},
		"what was deleted":                    {head + "data: {a: '1'}", "", "", Created, head + "data: {a: '1'}", nil, nil},
		"what was deleted and is there again": {head + "data: {a: '1'}", "", head, Created, "", []string{"metadata.name"}, nil},
		"what was modified and is gone":       {head, head + "data: {a: '1'}", "", Modified, "", []string{"metadata.name"}, nil},
		"a secret value":                      {secret + "stringData: {a: one}", secret + "stringData: {a: two}", secret + "data: {a: dHdv}", Modified, secret + "data: {a: LOST}", nil, []string{"data.a"}},
		"a secret value that was added":       {secret + "stringData: {a: one}", secret + "stringData: {a: one, b: two}", secret + "data: {a: b25l, b: dHdv}", Modified, secret + "data: {a: b25l}", nil, nil},
		"a secret that was deleted":           {secret + "stringData: {a: one}", "", "", Created, secret + "data: {a: LOST}", nil, []string{"data.a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live := content(t, c.live)
			got, err := Revert(object(t, c.before), object(t, c.after), live, salt)
			if err != nil {
				t.Fatal(err)
			}
			var conflicts []string
			for _, field := range got.Conflicts {
				conflicts = append(conflicts, field.Path)
			}
			if got.Op != c.op || !slices.Equal(conflicts, c.conflicts) || !slices.Equal(got.Lost, c.lost) ||
				got.Possible() != (len(c.conflicts)+len(c.lost) == 0) {
				t.Errorf("%+v", got)
			}
			if !reflect.DeepEqual(live, content(t, c.live)) {
				t.Error("live was changed")
			}
			have, err := yaml.Marshal(got.Content)
			if err != nil {
				t.Fatal(err)
			}
			want, err := yaml.Marshal(content(t, c.want))
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" && got.Content == nil {
				return
			}
			if text := digestedText.ReplaceAllString(string(have), "LOST"); text != string(want) {
				t.Errorf("got\n%swant\n%s", text, want)
			}
		})
	}
}

// What others change elsewhere survives, and what the change did is gone, whatever they are.
func TestRevertKeepsWhatOthersDid(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 1))
		base := map[string]any{
			"apiVersion": "v1", "kind": "X", "metadata": map[string]any{"name": "a"},
			"mine": randomValue(random, 3), "others": randomValue(random, 3),
		}
		after := maps.Clone(base)
		after["mine"] = randomValue(random, 3)
		live := maps.Clone(after)
		live["others"] = randomValue(random, 3)
		want := maps.Clone(base)
		want["others"] = live["others"]
		got, err := Revert(mustNew(t, base), mustNew(t, after), live, salt)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Possible() {
			t.Fatalf("seed %d: %+v", seed, got)
		}
		if have := mustNew(t, got.Content); string(have.bytes) != string(mustNew(t, want).bytes) {
			t.Fatalf("seed %d:\nbefore %s\nafter  %s\nlive   %s\ngot    %s", seed, mustNew(t, base).bytes, mustNew(t, after).bytes,
				mustNew(t, live).bytes, have.bytes)
		}
	}
}

func mustNew(t *testing.T, content map[string]any) *Object {
	t.Helper()
	o, err := New(content, salt)
	if err != nil {
		t.Fatal(err)
	}
	return &o
}

func randomValue(random *rand.Rand, depth int) any {
	switch n := random.IntN(6); {
	case n == 0 || depth == 0:
		return int64(random.IntN(3))
	case n == 1:
		return strings.Repeat("x", random.IntN(3))
	case n == 2:
		list := []any{}
		for range random.IntN(4) {
			list = append(list, randomValue(random, depth-1))
		}
		return list
	case n == 3:
		list := []any{}
		for _, i := range random.Perm(4)[:random.IntN(5)] {
			list = append(list, map[string]any{"name": fmt.Sprint("item", i), "v": randomValue(random, depth-1)})
		}
		return list
	default:
		m := map[string]any{}
		for i := range random.IntN(4) {
			m[fmt.Sprint("key", i)] = randomValue(random, depth-1)
		}
		return m
	}
}
