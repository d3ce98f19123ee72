package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/graf-run/graf/deploy/manifest"
)

// component is a part of Knative that must be there.
type component struct {
	name, definition, oldest string
	// namespace is where it runs.
	namespace string
}

// The oldest releases are those of cluster/lib/existing.sh.
var components = []component{
	{"Knative Serving", "services.serving.knative.dev", "1.16.0", "knative-serving"},
	{"Knative Eventing", "brokers.eventing.knative.dev", "1.16.0", "knative-eventing"},
}

// preflight finds whatever would make the deployment fail half-way.
func (d *deployment) preflight(ctx context.Context) error {
	if _, err := d.cluster.kubectl(ctx, nil, "get", "--raw", "/readyz", "--request-timeout=10s"); err != nil {
		return fmt.Errorf("the cluster cannot be reached: %w", err)
	}
	for _, c := range components {
		if err := d.checkComponent(ctx, c); err != nil {
			return err
		}
	}
	if err := d.checkKinds(ctx); err != nil {
		return err
	}
	if !d.settings.own && d.settings.registry == "" {
		return errors.New("GRAF_IMAGE_REGISTRY is not set: name a registry that you can push to and the cluster can pull from, such as registry.example/graf")
	}
	if _, err := os.Stat(d.settings.funcProgram); err != nil {
		return fmt.Errorf("the program func is missing: use make deploy, which builds it: %w", err)
	}
	return d.checkReferences(ctx)
}

func (d *deployment) checkComponent(ctx context.Context, c component) error {
	const how = "https://knative.dev/docs/install, or make cluster"
	label, err := d.cluster.kubectl(ctx, nil, "get", "customresourcedefinition", c.definition,
		"--output", `jsonpath={.metadata.labels.app\.kubernetes\.io/version}`)
	if errors.Is(err, errNotFound) {
		return fmt.Errorf("the cluster has no %s (%s): install it (%s)", c.name, c.definition, how)
	}
	if err != nil {
		return err
	}
	version := strings.TrimPrefix(strings.TrimSpace(string(label)), "v")
	switch older, known := olderThan(version, c.oldest); {
	case !known:
		d.progress.note("%s does not say its version (label app.kubernetes.io/version: %q); %s is the oldest that should do", c.name, version, c.oldest)
	case older:
		return fmt.Errorf("%s is %s, which is too old: upgrade it to %s or newer (%s)", c.name, version, c.oldest, how)
	}
	return nil
}

var versionNumbers = regexp.MustCompile(`^(\d+)\.(\d+)(?:\.(\d+))?`)

// olderThan compares versions by their three numbers; known is false where
// version has none.
func olderThan(version, oldest string) (older, known bool) {
	numbers := func(v string) []int {
		found := versionNumbers.FindStringSubmatch(v)
		if found == nil {
			return nil
		}
		var n []int
		for _, digits := range found[1:] {
			i, _ := strconv.Atoi(digits) // digits, or empty for a patch that is not given
			n = append(n, i)
		}
		return n
	}
	have := numbers(version)
	return slices.Compare(have, numbers(oldest)) < 0, have != nil
}

// installations says where to get what an overlay may use and a cluster may lack.
var installations = map[string]string{
	"postgresql.cnpg.io":        "CloudNativePG: https://cloudnative-pg.io/documentation",
	"gateway.networking.k8s.io": "Gateway API, and a controller for it: https://gateway-api.sigs.k8s.io/guides",
	"eventing.knative.dev":      "Knative Eventing: https://knative.dev/docs/install",
	"sources.knative.dev":       "Knative Eventing: https://knative.dev/docs/install",
	"keda.sh":                   "KEDA: https://keda.sh/docs",
	"argoproj.io":               "Argo Workflows: https://argo-workflows.readthedocs.io/en/latest/installation",
}

// checkKinds looks whether the cluster knows every kind of the overlay.
func (d *deployment) checkKinds(ctx context.Context) error {
	for version, wanted := range usedKinds(d.objects) {
		group, _, grouped := strings.Cut(version, "/")
		if !grouped {
			continue // Kubernetes' own
		}
		offered, err := d.offered(ctx, version)
		if err != nil {
			return err
		}
		for _, kind := range wanted {
			if !slices.Contains(offered, kind) {
				return fmt.Errorf("the cluster knows no %s of %s, which %s uses: install %s, or leave that component out of the overlay",
					kind, version, d.settings.overlay, orDefault(installations[group], group))
			}
		}
	}
	return nil
}

// usedKinds are the kinds of objects, and those that sources among them watch, by
// API version.
func usedKinds(objects []manifest.Object) map[string][]string {
	kinds := map[string][]string{}
	use := func(o manifest.Object) {
		if !slices.Contains(kinds[o.APIVersion()], o.Kind()) {
			kinds[o.APIVersion()] = append(kinds[o.APIVersion()], o.Kind())
		}
	}
	for _, o := range objects {
		use(o)
		watched, _ := o.At("spec", "resources").([]any)
		for _, one := range watched {
			if fields, ok := one.(map[string]any); ok && o.Kind() == kindAPI {
				use(fields)
			}
		}
	}
	return kinds
}

func (d *deployment) offered(ctx context.Context, version string) ([]string, error) {
	data, err := d.cluster.kubectl(ctx, nil, "get", "--raw", "/apis/"+version)
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list struct {
		Resources []struct {
			Kind string `json:"kind"`
		} `json:"resources"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("read what the cluster offers of %s: %w", version, err)
	}
	var kinds []string
	for _, r := range list.Resources {
		kinds = append(kinds, r.Kind)
	}
	return kinds, nil
}

// required are the keys that are read of each Secret, by namespace and name.
func (d *deployment) required() map[string][]string {
	keys := map[string][]string{}
	add := func(namespace, name, key string) {
		id := namespace + "/" + name
		if !slices.Contains(keys[id], key) {
			keys[id] = append(keys[id], key)
		}
	}
	for _, f := range d.functions {
		for _, r := range f.References() {
			if r.Kind == "Secret" {
				add(namespace, r.Name, r.Key)
			}
		}
	}
	for _, o := range d.objects {
		for _, r := range manifest.RequiredSecrets(o) {
			for _, key := range r.Keys {
				add(o.Namespace(), r.Name, key)
			}
		}
	}
	return keys
}

// checkReferences looks whether the Secrets that the overlay does not make are there.
func (d *deployment) checkReferences(ctx context.Context) error {
	var missing []string
	required := d.required()
	for _, id := range sortedKeys(required) {
		space, name, _ := strings.Cut(id, "/")
		if space == namespace && manifest.Find(d.objects, "Secret", name) != nil {
			continue
		}
		data, err := d.secretKeys(ctx, space, name)
		if err != nil {
			return err
		}
		var lacking []string
		for _, key := range required[id] {
			if _, there := data[key]; !there {
				lacking = append(lacking, key)
			}
		}
		switch {
		case len(lacking) == 0:
		case data != nil:
			missing = append(missing, fmt.Sprintf("Secret %s in namespace %s has no %s: kubectl edit secret %s --namespace %s",
				name, space, strings.Join(lacking, ", "), name, space))
		default:
			missing = append(missing, fmt.Sprintf("kubectl create secret generic %s --namespace %s --from-literal=%s=…",
				name, space, strings.Join(lacking, "=… --from-literal=")))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("secrets are missing (deploy/overlays/production/secrets.example.yaml shows what goes in; make their namespaces first):\n  %s",
			strings.Join(missing, "\n  "))
	}
	return nil
}

// secretKeys reads a Secret's keys; nil where there is none.
func (d *deployment) secretKeys(ctx context.Context, space, name string) (map[string]any, error) {
	// The keys alone: what they hold is nobody's business here.
	keys, err := d.cluster.kubectl(ctx, nil, "get", "secret", name, "--namespace", space,
		"--output", `go-template={{range $key, $_ := .data}}{{$key}}{{"\n"}}{{end}}`)
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := map[string]any{}
	for key := range strings.FieldsSeq(string(keys)) {
		found[key] = true
	}
	return found, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
