package demo

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestJobsFitTheirDeployments guards against a version of Knative whose
// Deployments are not what the jobs take them for.
func TestJobsFitTheirDeployments(t *testing.T) {
	t.Parallel()
	deployments, err := LoadDeployments(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	requests := map[string]string{filter: "100Mi", ingress: "100Mi", webhook: "50Mi"}
	for _, j := range (Config{}).jobs() {
		d, err := deployments.get(j.deployment)
		if err != nil {
			t.Fatal(err)
		}
		if d.namespace != "knative-eventing" || d.reference().Name != j.deployment {
			t.Errorf("%s is %+v", j.deployment, d.reference())
		}
		var content struct {
			Kind string
			Spec struct {
				Template struct {
					Spec struct {
						Containers []struct {
							Name      string
							Resources struct{ Limits, Requests map[string]string }
						}
					}
				}
			}
		}
		if err := json.Unmarshal(d.json, &content); err != nil {
			t.Fatal(err)
		}
		container := content.Spec.Template.Spec.Containers[0]
		if command := strings.Join(j.agent.Command, " "); !strings.Contains(command, "containers[name="+container.Name+"]") {
			t.Errorf("%s: the container is %s, but the agent is called by %s", j.deployment, container.Name, command)
		}
		if got := container.Resources.Requests["memory"]; got != requests[j.deployment] {
			t.Errorf("%s requests %s, want %s", j.deployment, got, requests[j.deployment])
		}
		if got := container.Resources.Limits["memory"]; got == j.limit {
			t.Errorf("%s has the limit %s already", j.deployment, got)
		}
	}
}

func TestLoadDeploymentsSaysHowToMendIt(t *testing.T) {
	t.Parallel()
	_, err := LoadDeployments(t.Context(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "run this from Graf's folder") {
		t.Errorf("error = %v, want one that says where to run it", err)
	}
}

func TestParseDeployment(t *testing.T) {
	t.Parallel()
	const service = "kind: Service\nmetadata: {name: web}\n"
	const deployment = "kind: Deployment\nmetadata: {name: web, namespace: shop}\n"
	for name, test := range map[string]struct{ file, problem string }{
		"alone":      {file: "# Licence\n\n" + deployment},
		"first":      {file: deployment + "\n---\n" + service},
		"last":       {file: service + "\n---\n" + deployment},
		"none":       {file: service, problem: "has no Deployment"},
		"not YAML":   {file: "{", problem: "yaml"},
		"empty file": {problem: "has no Deployment"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := parseDeployment([]byte(test.file))
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Fatalf("error = %v, want one with %q", err, test.problem)
				}
				return
			}
			const want = `{"kind":"Deployment","metadata":{"name":"web","namespace":"shop"}}`
			if err != nil || string(d.json) != want || d.name != "web" || d.namespace != "shop" {
				t.Fatalf("deployment = %+v, %v; want %s", d, err, want)
			}
		})
	}
}
