// Package funcyaml reads the parts of func.yaml (knative.dev/func) that a
// deployment looks at beside func itself.
package funcyaml

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"

	"sigs.k8s.io/yaml"
)

// TimeoutAnnotation is how long a request may take, in seconds: Knative's
// timeoutSeconds, for which func has no setting.
const TimeoutAnnotation = "graf.dev/timeout-seconds"

// DigestAnnotation tells what a function was deployed from.
const DigestAnnotation = "graf.dev/digest"

// Function is a func.yaml.
type Function struct {
	SpecVersion string `json:"specVersion"`
	Name        string `json:"name"`
	Runtime     string `json:"runtime"`
	Namespace   string `json:"namespace"`
	Created     string `json:"created"`
	Invoke      string `json:"invoke"`
	Run         struct {
		Envs []Env `json:"envs"`
		// Volumes are not among the References: their content changes in place.
		Volumes []Volume `json:"volumes,omitempty"`
	} `json:"run"`
	Deploy struct {
		ServiceAccountName string            `json:"serviceAccountName"`
		Labels             []Label           `json:"labels"`
		Annotations        map[string]string `json:"annotations"`
		HealthEndpoints    struct {
			Liveness  string `json:"liveness"`
			Readiness string `json:"readiness"`
		} `json:"healthEndpoints"`
		Options Options `json:"options"`
	} `json:"deploy"`
}

// Env is one variable, or all of a ConfigMap or Secret if it has no name.
type Env struct {
	Name  string `json:"name,omitempty"`
	Value string `json:"value"`
}

// Volume is a ConfigMap whose keys are files in a folder.
type Volume struct {
	ConfigMap string `json:"configMap"`
	Path      string `json:"path"`
}

// Label of the function and its pods.
type Label struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Options bound the function.
type Options struct {
	Scale struct {
		Min    *int    `json:"min"`
		Max    *int    `json:"max"`
		Metric string  `json:"metric"`
		Target float64 `json:"target"`
	} `json:"scale"`
	Resources struct {
		Requests Resources `json:"requests"`
		Limits   Resources `json:"limits"`
	} `json:"resources"`
}

// Resources of a container.
type Resources struct {
	CPU         string `json:"cpu"`
	Memory      string `json:"memory"`
	Concurrency int    `json:"concurrency,omitempty"`
}

// Reference is a ConfigMap or Secret that the environment comes from.
type Reference struct {
	// Kind is ConfigMap or Secret.
	Kind string
	Name string
	// Key is empty for all of it.
	Key string
}

// Load reads a func.yaml. A field that this package does not know is an error:
// func would ignore it, misspelt or not.
func Load(file string) (Function, []byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Function{}, nil, err
	}
	var f Function
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		return Function{}, nil, fmt.Errorf("%s: %w", file, err)
	}
	return f, data, nil
}

var reference = regexp.MustCompile(`^\{\{\s*(secret|configMap):([\w-]+)(?::([-.\w]+))?\s*\}\}$`)

// Reference tells what an Env refers to; false for a plain value.
func (e Env) Reference() (Reference, bool) {
	found := reference.FindStringSubmatch(e.Value)
	if found == nil {
		return Reference{}, false
	}
	kind := "ConfigMap"
	if found[1] == "secret" {
		kind = "Secret"
	}
	return Reference{Kind: kind, Name: found[2], Key: found[3]}, true
}

// References are all that the environment comes from.
func (f Function) References() []Reference {
	var all []Reference
	for _, e := range f.Run.Envs {
		if r, ok := e.Reference(); ok {
			all = append(all, r)
		}
	}
	return all
}

// Timeout is the TimeoutAnnotation's value.
func (f Function) Timeout() (int, error) {
	seconds, err := strconv.Atoi(f.Deploy.Annotations[TimeoutAnnotation])
	if err != nil || seconds < 1 {
		return 0, fmt.Errorf("%s: annotation %s is %q: give seconds", f.Name, TimeoutAnnotation, f.Deploy.Annotations[TimeoutAnnotation])
	}
	return seconds, nil
}

// WithDigest gives data, a func.yaml, with the DigestAnnotation, and nothing else
// changed.
func WithDigest(data []byte, digest string) []byte {
	at := []byte("\n  annotations:\n")
	return bytes.Replace(data, at, fmt.Appendf(at[:len(at):len(at)], "    %s: %q\n", DigestAnnotation, digest), 1)
}
