package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graf-run/graf/deploy/manifest"
)

// ofTests is a deployment of the overlay that has the worker.
func ofTests(t *testing.T) *deployment {
	t.Helper()
	file := filepath.Join(t.TempDir(), "services.env")
	if err := os.WriteFile(file, []byte(servers), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &deployment{settings: settings{root: "../../..", overlay: testsOverlay, servers: file}}
	if err := d.load(); err != nil {
		t.Fatal(err)
	}
	return d
}

// The worker is applied after the Broker, with an image of its own, and only where
// the overlay has it.
func TestWorkerHasItsOwnPlace(t *testing.T) {
	t.Parallel()
	d := ofTests(t)
	if d.worker == nil || manifest.Find(d.objects, "Deployment", "graf-worker") != nil {
		t.Error("the worker is among what is applied first")
	}
	if d.packages()[workerProgram] == "" {
		t.Error("no image of the worker is made")
	}
	without, err := onNode(t, servers)
	if err != nil || without.worker != nil || without.packages()[workerProgram] != "" {
		t.Errorf("overlay local has a worker, %v", err)
	}
	if err := without.deployWorker(context.Background()); err != nil {
		t.Error(err)
	}
}

// withWorker is a deployment whose cluster has ConfigMaps of this content, and takes
// the worker, which is rolled out at once.
func withWorker(t *testing.T, content string) *deployment {
	t.Helper()
	d := kubectl(t, `case "$*" in
"get configmap "*) echo '{"data": {"A": "`+content+`"}}' ;;
apply*) cat >"$(dirname "$0")/applied" ;;
"get deployments.apps graf-worker "*) echo '{"metadata": {"generation": 2}, "spec": {"replicas": 1},
	"status": {"observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 1, "replicas": 1}}' ;;
*) exit 9 ;;
esac`)
	d.worker = ofTests(t).worker
	d.images[workerProgram] = "registry.example/graf-worker:1"
	return d
}

// applied is the worker as kubectl got it.
func applied(t *testing.T, d *deployment) manifest.Object {
	t.Helper()
	if err := d.deployWorker(context.Background()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(d.settings.root, "cluster", "applied"))
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Items []manifest.Object }
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&list); err != nil || len(list.Items) != 1 {
		t.Fatalf("applied were %s, %v", text, err)
	}
	return list.Items[0]
}

// A ConfigMap that has changed starts the worker anew; nothing else does.
func TestWorkerIsDeployed(t *testing.T) {
	t.Parallel()
	config := func(o manifest.Object) any {
		return o.At("spec", "template", "metadata", "annotations", "graf.dev/config")
	}
	first := applied(t, withWorker(t, "b"))
	container, _ := first.At("spec", "template", "spec", "containers").([]any)
	if fields, _ := container[0].(map[string]any); fields["image"] != "registry.example/graf-worker:1" {
		t.Errorf("its image is %v", fields["image"])
	}
	if again := applied(t, withWorker(t, "b")); config(first) == nil || config(again) != config(first) {
		t.Errorf("without a change it is %v and %v", config(first), config(again))
	}
	if other := applied(t, withWorker(t, "c")); config(other) == config(first) {
		t.Error("a changed ConfigMap does not start it anew")
	}
}

func TestWorkerIsNotDeployed(t *testing.T) {
	t.Parallel()
	d := withWorker(t, "b")
	d.worker.Set([]any{}, "spec", "template", "spec", "containers")
	if err := d.deployWorker(context.Background()); err == nil || !strings.Contains(err.Error(), "one container") {
		t.Errorf("without a container: %v", err)
	}
	d = kubectl(t, absent)
	d.worker = ofTests(t).worker
	if err := d.deployWorker(context.Background()); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("without its ConfigMaps: %v", err)
	}
}

// Whoever waits for the worker is told what its pod says, such as of a key that is missing.
func TestWorkerIsLate(t *testing.T) {
	t.Parallel()
	const pods = `{"items": [{"metadata": {"name": "p"}, "status": {"containerStatuses": [
		{"name": "worker", "image": "i", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}}]}`
	d := kubectl(t, `case "$*" in
"get pods "*"name=graf-worker"*) echo '`+pods+`' ;;
"logs "*" --container worker "*) echo 'GRAF_TEMPORAL_TLS_CA_FILE: no such file' ;;
esac`)
	if err := d.workerIsLate(context.Background()); !strings.Contains(err.Error(), "GRAF_TEMPORAL_TLS_CA_FILE: no such file") {
		t.Errorf("got %v", err)
	}
	d = kubectl(t, `echo '{"items": []}'`)
	if err := d.workerIsLate(context.Background()); !strings.Contains(err.Error(), "logs --namespace graf deployment/graf-worker") {
		t.Errorf("got %v", err)
	}
}

func TestRolledOut(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]bool{
		`{"observedGeneration": 2, "updatedReplicas": 2, "readyReplicas": 2, "replicas": 2}`: true,
		`{"observedGeneration": 1, "updatedReplicas": 2, "readyReplicas": 2, "replicas": 2}`: false, // of the version before
		`{"observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 2, "replicas": 2}`: false,
		`{"observedGeneration": 2, "updatedReplicas": 2, "readyReplicas": 1, "replicas": 2}`: false,
		`{"observedGeneration": 2, "updatedReplicas": 2, "readyReplicas": 2, "replicas": 3}`: false, // an old one is ending
		`{}`: false,
	} {
		var o manifest.Object
		if err := json.Unmarshal([]byte(`{"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": `+status+`}`), &o); err != nil {
			t.Fatal(err)
		}
		if rolledOut(o) != want {
			t.Errorf("%s: rolled out %v", status, !want)
		}
	}
}
