package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/graf-run/graf/shared/api"
)

// source is the Go module whose Deployments are the input.
const source = "knative.dev/eventing"

// files have the Deployments, under the module's folder config.
var files = []string{
	"brokers/mt-channel-broker/deployments/broker-filter.yaml",
	"brokers/mt-channel-broker/deployments/broker-ingress.yaml",
	"core/deployments/webhook.yaml",
}

// Deployments are Kubernetes Deployments by name.
type Deployments map[string]Deployment

// Deployment is one Deployment as JSON.
type Deployment struct {
	json            json.RawMessage
	namespace, name string
}

// LoadDeployments reads the Deployments that Knative Eventing ships in its Go
// module, at the version that this workspace uses. folder is any folder of the
// workspace.
func LoadDeployments(ctx context.Context, folder string) (Deployments, error) {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", source)
	list.Dir = folder
	out, err := list.Output()
	module := strings.TrimSpace(string(out))
	if err != nil || module == "" {
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			err = errors.New(string(bytes.TrimSpace(exit.Stderr)))
		case err == nil:
			err = errors.New("it is not in the module cache of this user")
		}
		return nil, fmt.Errorf("find the Deployments of Go module %s (run this from Graf's folder, after make build): %w", source, err)
	}
	deployments := Deployments{}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(module, "config", filepath.FromSlash(file)))
		if err != nil {
			return nil, fmt.Errorf("read a Deployment of %s: %w", source, err)
		}
		d, err := parseDeployment(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		deployments[d.name] = d
	}
	return deployments, nil
}

// parseDeployment takes the Deployment out of a file that may have other
// resources beside it, such as its Service.
func parseDeployment(file []byte) (Deployment, error) {
	for _, document := range bytes.Split(file, []byte("\n---\n")) {
		var head struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
		}
		if err := yaml.Unmarshal(document, &head); err != nil {
			return Deployment{}, err
		}
		if head.Kind != "Deployment" {
			continue
		}
		encoded, err := yaml.YAMLToJSON(document)
		return Deployment{json: encoded, namespace: head.Metadata.Namespace, name: head.Metadata.Name}, err
	}
	return Deployment{}, errors.New("has no Deployment")
}

func (d Deployments) get(name string) (Deployment, error) {
	deployment, ok := d[name]
	if !ok {
		return Deployment{}, fmt.Errorf("there is no Deployment %s among the input", name)
	}
	return deployment, nil
}

func (d Deployment) reference() api.ResourceReference {
	return api.ResourceReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: d.namespace, Name: d.name}
}
