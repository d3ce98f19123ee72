//go:build e2e

package e2e

import (
	"net/http"
	"testing"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/api/conformance"
	"github.com/graf-run/graf/shared/kube"
)

// TestModes holds every orchestration mode to the suite that the local platform
// passes, too: what ends an agent's task, and how its client sees it. The kinds of Argo
// are the cluster's, its controller is a stand-in; Temporal is real.
func TestModes(t *testing.T) {
	s := newSystem(t)
	startArgoController(t, s.cluster, graf)
	for _, mode := range []api.OrchestrationMode{
		api.OrchestrationModeDirect, api.OrchestrationModeArgo, api.OrchestrationModeTemporal,
	} {
		t.Run(string(mode), func(t *testing.T) { conformance.Run(t, s.target(t, mode)) })
	}
	s.checkNothingLeft(t)
	eventually(t, "no agent runs any more", func() bool {
		for _, pod := range s.podsOf(t, graf, "graf.dev/task-id") {
			if phase, _, _ := nested(pod.Object, "status", "phase"); phase == "Running" || phase == "Pending" {
				return false
			}
		}
		return true
	})
}

func (s *system) target(t *testing.T, mode api.OrchestrationMode) conformance.Target {
	t.Helper()
	name := image(t)
	return conformance.Target{
		Client: http.DefaultClient, Token: s.token, Patience: patience,
		Submit: s.urls["submit"], Callback: s.urls["callback"], Memory: s.urls["memory"],
		Mode: mode, Kind: kube.KindFor(string(mode)),
		Agent: func(arguments ...string) api.Agent {
			return api.Agent{Kind: api.AgentKindCommand, Image: name, Command: append([]string{"/app"}, arguments...)}
		},
	}
}
