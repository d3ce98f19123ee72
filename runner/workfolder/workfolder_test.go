package workfolder

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/manifest"
)

const deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s, namespace: web}\nspec: {replicas: %d}\n"

var salt = []byte("salt of the test")

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func read(t *testing.T, files map[string]string) []manifest.Object {
	t.Helper()
	objects, err := Read(folder(t, files), "", salt)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestRead(t *testing.T) {
	t.Parallel()
	root := folder(t, map[string]string{
		"a.yaml":                fmt.Sprintf(deployment, "a", 1) + "---\n" + fmt.Sprintf(deployment, "b", 1),
		"deep/er/c.json":        `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}`,
		"s.yml":                 "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: hidden-value}\n",
		"template.yaml":         "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Name }}}\n",
		"kustomization.yaml":    "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n",
		"package.json":          `{"name":"x"}`,
		"notes.txt":             fmt.Sprintf(deployment, "no", 1),
		"node_modules/x.yaml":   fmt.Sprintf(deployment, "no", 1),
		".git/x.yaml":           fmt.Sprintf(deployment, "no", 1),
		".cache/tool/x.yaml":    fmt.Sprintf(deployment, "no", 1),
		"go/pkg/mod/m/x.yaml":   fmt.Sprintf(deployment, "no", 1),
		"submitted/as-was.yaml": fmt.Sprintf(deployment, "no", 1),
	})
	if err := os.Symlink(filepath.Join(root, "a.yaml"), filepath.Join(root, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	objects, err := Read(root, filepath.Join(root, "submitted"), salt)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, object := range objects {
		names = append(names, object.Ref.Name)
	}
	if strings.Join(names, " ") != "a b c s" || strings.Contains(manifest.YAML(objects), "hidden-value") {
		t.Errorf("%v", manifest.YAML(objects))
	}
	if _, err := Read(filepath.Join(root, "no-such"), "", salt); err == nil {
		t.Error("a folder that is not there is read")
	}
	big := strings.Repeat("# a comment\n", 50_000) + fmt.Sprintf(deployment, "big", 1)
	if _, err := Read(folder(t, map[string]string{"1.yaml": big, "2.yaml": big, "3.yaml": big, "4.yaml": big}), "", salt); !errors.Is(err, ErrTooMuch) {
		t.Errorf("got %v", err)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	of := func(replicas ...any) map[string]string {
		files := map[string]string{}
		for i := 0; i < len(replicas); i += 2 {
			name, _ := replicas[i].(string)
			files[name+".yaml"] = fmt.Sprintf(deployment, filepath.Base(name), replicas[i+1])
		}
		return files
	}
	many := map[string]string{}
	for i := range 60 {
		many[fmt.Sprint(i)+".yaml"] = fmt.Sprintf(deployment, fmt.Sprint("d", i), 1)
	}
	secret := func(value string) map[string]string {
		return map[string]string{"s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: " + value + "}\n"}
	}
	for name, c := range map[string]struct {
		submitted, before, after map[string]string
		// state are parts of each manifest, in their order; diff are parts of the diff.
		state, diff []string
	}{
		"nothing":         {submitted: of("a", 1), before: of("a", 1), after: of("a", 1)},
		"moved":           {before: of("a", 1), after: of("x/a", 1)},
		"changed":         {submitted: of("a", 1, "b", 1), before: of("a", 1, "b", 1), after: of("a", 2, "b", 1), state: []string{`"b"`, `"replicas":2`}},
		"not seeded":      {submitted: of("a", 1, "b", 1), after: of("a", 2), state: []string{`"b"`, `"replicas":2`}},
		"deleted":         {submitted: of("a", 1, "b", 1), before: of("a", 1, "b", 1), after: of("b", 1), state: []string{`"b"`}},
		"all deleted":     {submitted: of("a", 1), before: of("a", 1), state: []string{}},
		"new":             {submitted: of("a", 1), before: of("a", 1), after: of("a", 1, "new", 1), state: []string{`"a"`, `"new"`}},
		"not submitted":   {before: of("a", 1), after: of("a", 2), diff: []string{"-  replicas: 1\n+  replicas: 2"}},
		"others' as well": {submitted: of("s", 1), before: of("s", 1, "a", 1), after: of("s", 2, "a", 2), diff: []string{"web/a", "web/s"}},
		"an overlay":      {before: of("base/a", 1, "over/a", 5), after: of("base/a", 1, "over/a", 6), diff: []string{"-  replicas: 5\n+  replicas: 6"}},
		"too many":        {submitted: of("a", 1), before: of("a", 1), after: many, diff: []string{"d59"}},
		"a Secret":        {before: secret("old-hidden"), after: secret("new-hidden"), diff: []string{"sha256-salted:"}},
		"a known secret":  {before: of("a", 1), after: map[string]string{"a.yaml": fmt.Sprintf(deployment, "a", 1) + "data: known-secret\n"}, diff: []string{"data: [redacted]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mask := func(text string) string { return strings.ReplaceAll(text, "known-secret", "[redacted]") }
			report, err := Compare(read(t, c.submitted), read(t, c.before), read(t, c.after), mask)
			if err != nil {
				t.Fatal(err)
			}
			if (report.Manifests == nil) != (c.state == nil) || len(report.Manifests) != len(c.state) || (report.Diff == "") != (c.diff == nil) {
				t.Fatalf("%s %s", report.Manifests, report.Diff)
			}
			for i, part := range c.state {
				if !strings.Contains(string(report.Manifests[i]), part) {
					t.Errorf("%s lacks %s", report.Manifests[i], part)
				}
			}
			for _, part := range c.diff {
				if !strings.Contains(report.Diff, part) {
					t.Errorf("%q lacks %q", report.Diff, part)
				}
			}
			if strings.Contains(report.Diff, "hidden") || strings.Contains(report.Diff, "known-secret") {
				t.Error(report.Diff)
			}
		})
	}
}

// What JSON escapes counts as it is sent: Graf takes 1 MiB.
func TestCompareCountsEscapes(t *testing.T) {
	t.Parallel()
	of := func(value string) []manifest.Object {
		return read(t, map[string]string{"a.json": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"` + value + `"}}`})
	}
	before, after := of("x"), of(strings.Repeat("<&>", 80<<10))
	report, err := Compare(before, before, after, strings.Clone)
	if err != nil || report.Manifests != nil || report.Diff == "" {
		t.Fatalf("%d manifests, %d bytes of a diff, %v", len(report.Manifests), len(report.Diff), err)
	}
	if encoded, err := json.Marshal(report.Diff); err != nil || len(encoded) > maxReport {
		t.Errorf("the diff has %d bytes as JSON, %v", len(encoded), err)
	}
}

func TestSeed(t *testing.T) {
	t.Parallel()
	from := folder(t, map[string]string{"..data/a.yaml": "submitted", "b.yaml": "submitted"})
	if err := os.Symlink("..data/a.yaml", filepath.Join(from, "a.yaml")); err != nil { // as Kubernetes does
		t.Fatal(err)
	}
	to := folder(t, map[string]string{"in/b.yaml": "the agent's"})
	if err := Seed(from, to, "in"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a.yaml": "submitted", "b.yaml": "the agent's"} {
		if text, err := os.ReadFile(filepath.Join(to, "in", name)); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if entries, _ := os.ReadDir(filepath.Join(to, "in")); len(entries) != 2 {
		t.Error(entries)
	}
	if err := Seed(filepath.Join(from, "no-such"), to, "in"); err == nil {
		t.Error("a folder that is not there is copied")
	}
	elsewhere := t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(to, "link")); err != nil { // as a repository may have it
		t.Fatal(err)
	}
	for _, name := range []string{"link", "link/in"} {
		if err := Seed(from, to, name); err == nil {
			t.Errorf("%s: a link is followed", name)
		}
	}
	if entries, _ := os.ReadDir(elsewhere); len(entries) != 0 {
		t.Error(entries)
	}
}
