package kube_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/graf-run/graf/shared/kubetest"
	"github.com/graf-run/graf/shared/manifest"
)

// Resources that the tests of a real API server write past the client under test.
var (
	configMaps  = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets     = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
)

var salt = []byte("salt of a test, which is long enough")

// decode reads YAML in which NS stands for a namespace, with numbers as the API server's.
func decode(t testing.TB, namespace, text string) map[string]any {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(strings.ReplaceAll(text, "NS", namespace)))
	if err != nil {
		t.Fatal(err)
	}
	var content map[string]any
	if err := json.Unmarshal(data, &content); err != nil {
		t.Fatal(err)
	}
	return content
}

// create writes an object as somebody else than the client under test.
func create(t testing.TB, cluster *kubetest.Cluster, resource schema.GroupVersionResource, text string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{Object: decode(t, cluster.Namespace, text)}
	made, err := cluster.Dynamic.Resource(resource).Namespace(object.GetNamespace()).
		Create(t.Context(), object, metav1.CreateOptions{FieldManager: "somebody"})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

const configMapText = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: NS, labels: {app: web}}\ndata: {colour: blue}\n"

const deploymentText = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "web:1", resources: {requests: {memory: 100Mi}}}]
`

func configMapRef(cluster *kubetest.Cluster) manifest.Ref {
	return manifest.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: cluster.Namespace, Name: "settings"}
}

func deploymentRef(cluster *kubetest.Cluster) manifest.Ref {
	return manifest.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: cluster.Namespace, Name: "web"}
}
