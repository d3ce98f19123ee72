package manifest

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 253)
	objects := parse(t, `{"apiVersion":"v1","kind":"Deployment","metadata":{"name":"web","namespace":"n"}}
		{"apiVersion":"v1","kind":"ClusterRole","metadata":{"name":"system:node/é"}}
		{"apiVersion":"v1","kind":"`+long+`","metadata":{"name":"`+long+`"}}`)
	files, err := Files(objects)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"01-deployment-web.yaml", "02-clusterrole-system-node--.yaml", "03-" + long[:245] + ".yaml"}
	for i, file := range files {
		if file.Name != want[i] || file.YAML != objects[i].YAML() {
			t.Errorf("file %q, want %q", file.Name, want[i])
		}
		if problems := validation.IsConfigMapKey(file.Name); len(problems) > 0 {
			t.Errorf("%q is no key of a ConfigMap: %v", file.Name, problems)
		}
	}
}

func TestFilesAreBounded(t *testing.T) {
	t.Parallel()
	many := func(n int) []Object {
		objects := make([]Object, n)
		for i := range objects {
			objects[i] = parse(t, fmt.Sprintf(`{"apiVersion":"v1","kind":"A","metadata":{"name":"a%d"}}`, i))[0]
		}
		return objects
	}
	// Each line is 3 bytes of JSON, and indented in YAML.
	large := parse(t, `{"apiVersion":"v1","kind":"A","metadata":{"name":"a"},"l":`+strings.Repeat(`{"a":`, 10)+`"`+strings.Repeat(`a\n`, 100_000)+`"`+strings.Repeat("}", 11))
	for name, test := range map[string]struct {
		objects []Object
		want    string
	}{
		"as many as can be": {many(MaxObjects), ""},
		"too many":          {many(MaxObjects + 1), "are 2001 resources"},
		"too large as YAML": {large, "bytes as YAML; at most 1048576"},
	} {
		_, err := Files(test.objects)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
