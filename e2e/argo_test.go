//go:build e2e

package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kube/conformance"
)

// TestArgoConformance runs the suite of executions with Workflows, in a namespace of
// its own with a stand-in for Argo's controller.
func TestArgoConformance(t *testing.T) {
	image := os.Getenv("GRAF_E2E_SHELL_IMAGE")
	if image == "" {
		t.Fatal("GRAF_E2E_SHELL_IMAGE is not set: name an image with sh, test, sleep and cat, such as busybox")
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	must(t, err)
	config.QPS = -1
	conformance.InstallArgo(within(t), t, config)
	s := &system{cluster: shared.cluster}
	namespace := "graf-argo-" + strings.ToLower(uuid.NewString()[:8])
	s.create(t, namespaces, object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": namespace}})
	startArgoController(t, shared.cluster, namespace)
	conformance.Conformance(t, conformance.Target{Config: config, Namespace: namespace, Image: image, Kind: kube.KindWorkflow})
}
