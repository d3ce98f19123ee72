package funcyaml_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/graf-run/graf/deploy/funcyaml"
	"github.com/graf-run/graf/deploy/manifest"
)

const root = "../.."

func functions(t *testing.T) map[string]funcyaml.Function {
	t.Helper()
	files, err := filepath.Glob(root + "/functions/*/func.yaml")
	if err != nil || len(files) != 6 {
		t.Fatalf("%d functions, %v; want six", len(files), err)
	}
	all := map[string]funcyaml.Function{}
	for _, file := range files {
		f, _, err := funcyaml.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(filepath.Dir(file))] = f
	}
	return all
}

func overlay(t *testing.T, name string) []manifest.Object {
	t.Helper()
	objects, err := manifest.Build(filepath.Join(root, "deploy/overlays", name))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

var (
	tag      = regexp.MustCompile("`env:\"([A-Z][A-Z0-9_]*)((?:,[a-zA-Z]+)*)\"([^`]*)`")
	imported = regexp.MustCompile(`"github\.com/graf-run/graf/(shared/[a-z0-9]+)"`)
)

// variables reads the env tags of a function's Config and of the packages that it
// is put together from: names, and whether there must be a value.
func variables(t *testing.T, name string) map[string]bool {
	t.Helper()
	folder := filepath.Join(root, "functions", name)
	config, err := os.ReadFile(filepath.Join(folder, "config.go"))
	if err != nil {
		t.Fatal(err)
	}
	sources := []string{filepath.Join(folder, "config.go")}
	for _, found := range imported.FindAllStringSubmatch(string(config), -1) {
		files, err := filepath.Glob(filepath.Join(root, found[1], "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, files...)
	}
	known := map[string]bool{}
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range tag.FindAllStringSubmatch(string(text), -1) {
			known[found[1]] = known[found[1]] || strings.Contains(found[2], "required")
		}
	}
	return known
}

// made is what make deploy puts into ConfigMap graf-deployment, and, with the
// node's servers, into the others.
var made = map[string][]string{
	"graf-deployment": {"K_SINK", "GRAF_AGENT_IMAGE", "GRAF_RUNNER_IMAGE"},
	"graf-config":     {"GRAF_S3_ENDPOINT", "GRAF_S3_REGION", "GRAF_S3_BUCKET"},
}

// Every variable that func.yaml names is one of the function's Config, and every
// variable that Config requires is given.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	production := overlay(t, "production")
	for name, f := range functions(t) {
		known, given := variables(t, name), map[string]bool{}
		for _, e := range f.Run.Envs {
			r, isReference := e.Reference()
			if !isReference || r.Kind == "Secret" && r.Key == "" {
				t.Errorf("%s: %q is no reference to a ConfigMap or to a Secret's key", name, e.Value)
			}
			if e.Name != "" {
				given[e.Name] = true
				if _, ok := known[e.Name]; !ok {
					t.Errorf("%s: its Config has no %s", name, e.Name)
				}
				continue
			}
			data, _ := manifest.Find(production, "ConfigMap", r.Name).At("data").(map[string]any)
			for key := range data {
				given[key] = true
			}
			for _, key := range made[r.Name] {
				given[key] = true
			}
		}
		for variable, required := range known {
			if required && !given[variable] {
				t.Errorf("%s: %s is required and not given", name, variable)
			}
		}
	}
}

// A misspelt setting would be ignored.
func TestConfigMapsAreKnown(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for name := range functions(t) {
		for variable := range variables(t, name) {
			known[variable] = true
		}
	}
	for _, name := range []string{"local", "production"} {
		for _, o := range overlay(t, name) {
			if o.Kind() != "ConfigMap" || o.Name() == "graf-broker-kafka" || o.Name() == "graf-policy" {
				continue
			}
			data, _ := o.At("data").(map[string]any)
			for key := range data {
				if !known[key] {
					t.Errorf("%s: ConfigMap %s has %s, which no function reads", name, o.Name(), key)
				}
			}
		}
	}
}

// The schema of func v0.44 and the bounds that a function must have.
func TestBounds(t *testing.T) {
	t.Parallel()
	objects := overlay(t, "local")
	triggers, _ := manifest.Split(objects, "Trigger")
	for name, f := range functions(t) {
		o := f.Deploy.Options
		if f.Name != "graf-"+name || f.SpecVersion != "0.36.0" || f.Runtime != "go" || f.Invoke != "http" || f.Created == "" || f.Namespace != "graf" {
			t.Errorf("%s: %+v", name, f)
		}
		if o.Scale.Min == nil || *o.Scale.Min != 0 || o.Scale.Max == nil || *o.Scale.Max < 2 || o.Scale.Metric != "concurrency" || o.Scale.Target < 1 {
			t.Errorf("%s: scale %+v", name, o.Scale)
		}
		if o.Resources.Limits.Concurrency < int(o.Scale.Target) || o.Resources.Limits.Memory == "" || o.Resources.Limits.CPU == "" ||
			o.Resources.Requests.Memory == "" || o.Resources.Requests.CPU == "" {
			t.Errorf("%s: resources %+v", name, o.Resources)
		}
		if f.Deploy.HealthEndpoints.Liveness != "/health/liveness" || f.Deploy.HealthEndpoints.Readiness != "/health/readiness" {
			t.Errorf("%s: health endpoints %+v", name, f.Deploy.HealthEndpoints)
		}
		if manifest.Find(objects, "ServiceAccount", f.Deploy.ServiceAccountName) == nil || f.Deploy.ServiceAccountName != f.Name {
			t.Errorf("%s: account %q", name, f.Deploy.ServiceAccountName)
		}
		timeout, err := f.Timeout()
		if err != nil {
			t.Error(err)
		}
		for _, trigger := range triggers {
			text, _ := trigger.At("spec", "delivery", "timeout").(string)
			bound, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(text, "PT")))
			if trigger.At("spec", "subscriber", "ref", "name") == f.Name && (err != nil || bound > time.Duration(timeout)*time.Second) {
				t.Errorf("%s: a request ends after %d s, before the delivery of %s does (%s, %v)", name, timeout, trigger.Name(), text, err)
			}
		}
	}
}

func TestWithDigest(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "func.yaml")
	_, text, err := funcyaml.Load(root + "/functions/submit/func.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, funcyaml.WithDigest(text, "abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, _, err := funcyaml.Load(file)
	if err != nil || f.Deploy.Annotations[funcyaml.DigestAnnotation] != "abc" || f.Deploy.Annotations[funcyaml.TimeoutAnnotation] == "" {
		t.Errorf("annotations %v, %v", f.Deploy.Annotations, err)
	}
}

func TestLoadRefusesTheUnknown(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "func.yaml")
	if err := os.WriteFile(file, []byte("name: a\nspecversion: 1\nreplicas: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := funcyaml.Load(file); err == nil || !strings.Contains(err.Error(), "replicas") {
		t.Errorf("got %v", err)
	}
}
