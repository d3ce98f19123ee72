package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

func parse(t *testing.T, text string) []Object {
	t.Helper()
	objects, err := Parse([]byte(text), salt)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

const configMap = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"ns"},"data":{"k":"v"}}`

func TestEveryWayToWriteAResourceIsOne(t *testing.T) {
	t.Parallel()
	want := parse(t, configMap)[0].Digest()
	for name, text := range map[string]string{
		"YAML":             "apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: ns, name: a}\ndata:\n  k: v\n",
		"documents":        "# nothing\n---\n--- # a comment\ndata: {k: v}\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: ns\n...\n---\n",
		"CRLF":             "---\r\napiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {namespace: ns, name: a}\r\ndata: {k: v}\r\n",
		"flow YAML":        `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: ns}, data: {k: v}}`,
		"array":            "[" + configMap + "]",
		"List":             `{"apiVersion":"v1","kind":"List","items":[` + configMap + `]}`,
		"typed list":       `{"apiVersion":"v1","kind":"ConfigMapList","items":[` + configMap + `]}`,
		"nulls":            strings.Replace(configMap, `"data"`, `"binaryData":null,"data"`, 1),
		"status":           strings.Replace(configMap, `"data"`, `"status":{"x":1},"data"`, 1),
		"server's fields":  strings.Replace(configMap, `"name":"a"`, `"name":"a","uid":"u","resourceVersion":"1","generation":1,"selfLink":"s","creationTimestamp":"t","managedFields":[]`, 1),
		"last applied":     strings.Replace(configMap, `"name":"a"`, `"name":"a","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"}`, 1),
		"escaped":          strings.Replace(configMap, `"v"`, `"\u0076"`, 1),
		"YAML with anchor": "apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: ns, name: a}\ndata: &d\n  k: v\nstatus: *d\n",
	} {
		objects, err := Parse([]byte(text), salt)
		if err != nil || len(objects) != 1 {
			t.Errorf("%s: %d objects, %v", name, len(objects), err)
			continue
		}
		if got := objects[0].Digest(); got != want {
			t.Errorf("%s: is taken as %s", name, objects[0].JSON())
		}
	}
}

func TestCanonicalFormIsStable(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"testdata/workload/before.yaml", "testdata/workload/after.yaml", "testdata/lists/before.yaml"} {
		objects := parseFile(t, path)
		for name, text := range map[string]string{"YAML": YAML(objects), "JSON": toJSON(t, objects)} {
			again := parse(t, text)
			if Digest(again) != Digest(objects) || YAML(again) != YAML(objects) {
				t.Errorf("%s read back from %s is another:\n%s", path, name, YAML(again))
			}
		}
	}
}

func toJSON(t *testing.T, objects []Object) string {
	t.Helper()
	encoded, err := json.Marshal(objects)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func TestSecretsAreDigested(t *testing.T) {
	t.Parallel()
	const text = `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s",
		"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"hunter2"}},
		"data":{"a":"aHVudGVyMg==","b":"aHVudGVyMg==","c":"b3RoZXI=","odd":"not base64!","number":5},"stringData":{"d":"hunter2","c":"hunter2"}}`
	secret := parse(t, text)[0]
	data := secret.content["data"].(map[string]any)
	if data["a"] != data["b"] || data["a"] != data["d"] || data["a"] != data["c"] {
		t.Errorf("equal values have unequal digests: %v", data)
	}
	if data["a"] == data["odd"] || len(data) != 6 {
		t.Errorf("data = %v", data)
	}
	for _, leak := range []string{"hunter2", "aHVudGVyMg", "not base64", "stringData"} {
		if bytes.Contains(secret.JSON(), []byte(leak)) {
			t.Errorf("the canonical form has %q: %s", leak, secret.JSON())
		}
	}
	other, err := Parse([]byte(text), []byte("another salt"))
	if err != nil || other[0].Digest() == secret.Digest() {
		t.Errorf("another salt gives the same digests, %v", err)
	}
	if _, err := Parse([]byte(text), nil); !errors.Is(err, ErrNoSalt) {
		t.Errorf("without a salt: %v", err)
	}
}

func TestSecretsInLists(t *testing.T) {
	t.Parallel()
	secret := func(name, head string) string {
		return `{` + head + `"metadata":{"name":"` + name + `","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"hunter2"}},"stringData":{"dsn":"hunter2"},"data":{"a":"aHVudGVyMg=="}}`
	}
	const head = `"apiVersion":"v1","kind":"Secret",`
	want := parse(t, secret("a", head)+secret("b", head))
	for name, text := range map[string]string{
		"List":                 `{"apiVersion":"v1","kind":"List","items":[` + secret("a", head) + "," + secret("b", head) + `]}`,
		"SecretList":           `{"apiVersion":"v1","kind":"SecretList","metadata":{},"items":[` + secret("a", head) + "," + secret("b", head) + `]}`,
		"as the server has it": `{"apiVersion":"v1","kind":"SecretList","metadata":{},"items":[` + secret("a", "") + "," + secret("b", "") + `]}`,
		"a list in a list":     `{"kind":"List","items":[{"kind":"List","items":[` + secret("a", head) + `]},` + secret("b", head) + `]}`,
	} {
		var content map[string]any
		if err := json.Unmarshal([]byte(text), &content); err != nil {
			t.Fatal(err)
		}
		objects, err := Resources(content, salt)
		if err != nil || Digest(objects) != Digest(want) || Digest(parse(t, text)) != Digest(want) {
			t.Errorf("%s: %v\n%s", name, err, toJSON(t, objects))
		}
	}
	inside := parse(t, `{"apiVersion":"example.com/v1","kind":"Bundle","metadata":{"name":"b"},"spec":{"objects":[`+secret("a", head)+`]}}`)
	if text := toJSON(t, inside); strings.Contains(text, "hunter2") || strings.Contains(text, "aHVudGVyMg") {
		t.Errorf("a Secret inside another resource: %s", text)
	}
}

const withEnv = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"app","env":[
	{"name":"DB_PASSWORD","value":"hunter2"},{"name":"LEVEL","value":"debug"},{"name":"EMPTY_TOKEN","value":""},
	{"name":"API_KEY","valueFrom":{"secretKeyRef":{"name":"web","key":"password"}}}]}]}}`

func TestSecretVariablesAreDigested(t *testing.T) {
	t.Parallel()
	before := parse(t, withEnv)
	text := toJSON(t, before)
	for _, kept := range []string{`"value":"debug"`, `"value":""`, `"secretKeyRef":{"key":"password","name":"web"}`} {
		if !strings.Contains(text, kept) {
			t.Errorf("%s is gone: %s", kept, text)
		}
	}
	after := parse(t, strings.Replace(withEnv, "hunter2", "hunter3", 1))
	diff := Compare(before, after)
	const changed = "container app env DB_PASSWORD sha256-salted:"
	if !strings.Contains(diff.Summary, changed) || len(diff.Changes) != 1 {
		t.Errorf("summary %q, want %q", diff.Summary, changed)
	}
	if all := text + toJSON(t, after) + diff.Unified + diff.Summary; strings.Contains(all, "hunter") {
		t.Errorf("the value is left in: %s", all)
	}
	if again := parse(t, text); Digest(again) != Digest(before) {
		t.Errorf("read back as another: %s", toJSON(t, again))
	}
	if _, err := Parse([]byte(withEnv), nil); !errors.Is(err, ErrNoSalt) {
		t.Errorf("without a salt: %v", err)
	}
}

func TestBadManifests(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"a":`, MaxDepth+1) + "1" + strings.Repeat("}", MaxDepth+1)
	many := strings.Repeat(configMap+"\n", 2)
	for text, want := range map[string]string{
		"just text":         "document 1: a resource must be a mapping",
		"a: 1\nb: 2":        "document 1: apiVersion is missing",
		"apiVersion: v1":    "document 1: kind is missing",
		`{"apiVersion":1}`:  "document 1: apiVersion must be a string",
		`{"apiVersion":""}`: "document 1: apiVersion must be a string that is not empty",
		"apiVersion: v1\nkind: X\nmetadata: {generateName: a}":       "metadata.name is missing",
		"apiVersion: v1\nkind: X\nmetadata: {name: \"a b\"}":         "metadata.name must have at most 253 bytes",
		"apiVersion: v1\nkind: X\nmetadata: {name: a, namespace: 1}": "metadata.namespace must be a string",
		"a: 1\na: 2":                       `key "a" already set`,
		"a: [":                             "document 1: ",
		"{a: [":                            "neither JSON",
		"a: 1\n---\n\tb":                   "document 2: ",
		`{"kind":"List","items":[1]}`:      "items[0] is not a resource",
		`{"kind":"List","items":[{}]}`:     "items[0]: apiVersion is missing",
		`{"kind":"PodList","items":["a"]}`: "items[0] is not a resource",
		many:                               "ConfigMap ns/a was in document 1 already",
		"\xff":                             "not valid UTF-8",
		deep:                               "nested more than 64 levels deep",
		`{"a":1e999}`:                      "number 1e999 is out of range",
		strings.Repeat(" ", MaxBytes+1):    "at most 4194304 are allowed",
		"a: .inf":                          "document 1: ",
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":"x"}`: "data of a Secret must be a mapping",
		`{"a":[` + strings.Repeat("1,", maxNodes) + "1]}":                        "more than 500000 values",
	} {
		_, err := Parse([]byte(text), salt)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", shortened(text, 60), err, want)
		}
	}
}

func TestAliasBombIsRefused(t *testing.T) {
	t.Parallel()
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := '1'; i <= '9'; i++ {
		bomb += "a" + string(i) + ": &a" + string(i) + " [" + strings.Repeat("*a"+string(i-1)+",", 9) + "]\n"
	}
	if _, err := Parse([]byte(bomb), salt); err == nil {
		t.Error("taken")
	}
}

func TestNumbersHaveOneForm(t *testing.T) {
	t.Parallel()
	base := map[string]any{"apiVersion": "v1", "kind": "X", "metadata": map[string]any{"name": "a"}}
	digests := map[string]bool{}
	for _, three := range []any{3, int64(3), 3.0, json.Number("3"), json.Number("3.0"), json.Number("3e0")} {
		base["n"] = three
		object, err := New(base, nil)
		if err != nil {
			t.Fatal(err)
		}
		digests[object.Digest()] = true
	}
	if len(digests) != 1 {
		t.Errorf("%d forms of 3", len(digests))
	}
	for _, bad := range []any{math.NaN(), math.Inf(1), uint8(1), "\xff", map[string]any{"\xff": 1}} {
		base["n"] = bad
		if _, err := New(base, nil); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		withEnv, `{"apiVersion":"v1","kind":"SecretList","items":[{"metadata":{"name":"a"},"data":{"a":"b"}}]}`, `{"kind":"List","items":[{"kind":"List","items":[]}]}`,
		configMap, "a: 1\n---\nb", "[]", "", "...", "{a: &x [*x]}", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: b}",
		`{"apiVersion":"v1","kind":"X","metadata":{"name":"a"},"l":[{"name":"]"},{"name":"\"]"}],"[\"":1.5e-7}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := Parse(data, salt)
		if err != nil {
			return
		}
		again, err := Parse([]byte(YAML(objects)), salt)
		if err != nil {
			t.Fatalf("the rendered form is refused: %v\n%s", err, YAML(objects))
		}
		if Digest(again) != Digest(objects) {
			t.Fatalf("read back as another:\n%s\n%s", toJSON(t, objects), toJSON(t, again))
		}
		if diff := Compare(objects, again); !diff.Empty() {
			t.Fatalf("differs from itself: %+v", diff)
		}
		Compare(nil, objects)
		Compare(objects, objects[:len(objects)/2])
	})
}
