package services

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

// apiserverProgram builds the program, unless it is there.
func apiserverProgram(t *testing.T) string {
	t.Helper()
	build := exec.Command("../../cluster/apiserver.sh")
	build.Stderr = os.Stderr
	output, err := build.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(output))
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	set := start(t, Config{DataFolder: dataFolder(t), Ephemeral: true, Dependencies: Local, Kubernetes: apiserverProgram(t)})
	folder := set.Folder()
	environment := set.KubernetesEnvironment()
	if len(environment) != 1 || environment[0] != TestKubeconfig+"="+filepath.Join(folder, "kubernetes", "kubeconfig") {
		t.Fatalf("the setting is %v", environment)
	}
	settings, err := clientcmd.BuildConfigFromFlags("", strings.TrimPrefix(environment[0], TestKubeconfig+"="))
	if err != nil {
		t.Fatal(err)
	}
	namespaces := schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	for name, c := range map[string]struct {
		as      string
		allowed bool
	}{"administrator": {"", true}, "nobody": {"nobody", false}} {
		settings.Impersonate.UserName = c.as
		client, err := dynamic.NewForConfig(settings)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Resource(namespaces).Get(deadline(t), "default", metav1.GetOptions{}); (err == nil) != c.allowed {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, file := range []string{"kubeconfig", "apiserver.key", "service-account.key"} {
		info, err := os.Stat(filepath.Join(folder, "kubernetes", file))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want it to be its owner's alone", file, info, err)
		}
	}
	stop(t, set)
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
}
