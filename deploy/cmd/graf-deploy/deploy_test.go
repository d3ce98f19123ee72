package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/graf-run/graf/deploy/funcyaml"
	"github.com/graf-run/graf/deploy/manifest"
)

// kubectl is a deployment whose kubectl is the given shell script's body; "$*"
// there is the command line.
func kubectl(t *testing.T, script string) *deployment {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "cluster"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kubectl.sh", "exec.sh", "load.sh"} {
		text := "#!/bin/sh\necho \"$*\" >>\"$(dirname \"$0\")/calls\"\n" + script + "\n"
		if err := os.WriteFile(filepath.Join(root, "cluster", name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return &deployment{
		settings: settings{root: root, overlay: "deploy/overlays/production"},
		cluster:  &cluster{root: root}, progress: newProgress(io.Discard), out: &bytes.Buffer{},
		images: map[string]string{migrateProgram: "registry.example/graf-migrate:1", "submit": "registry.example/graf-submit:1"},
	}
}

const absent = `echo 'Error from server (NotFound): none of this name' >&2; exit 1`

func TestOlderThan(t *testing.T) {
	t.Parallel()
	for version, want := range map[string][2]bool{
		"1.15.9": {true, true}, "1.16.0": {false, true}, "1.16": {false, true}, "1.21.0": {false, true}, "2.0.0": {false, true},
		"1.9.0": {true, true}, "devel": {false, false}, "": {false, false}, "20251121-abc": {false, false},
	} {
		if older, known := olderThan(version, "1.16.0"); known != want[1] || known && older != want[0] {
			t.Errorf("%q: older %v, known %v", version, older, known)
		}
	}
}

func TestKnativeIsMissingOrOld(t *testing.T) {
	t.Parallel()
	for message, script := range map[string]string{
		"the cluster has no Knative Serving":                                absent,
		"Knative Serving is 1.12.0, which is too old: upgrade it to 1.16.0": `echo v1.12.0`,
		"cluster: there is no cluster":                                      `echo 'cluster: there is no cluster' >&2; exit 1`,
	} {
		d := kubectl(t, script)
		if err := d.checkComponent(context.Background(), components[0]); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("got %v, want %q", err, message)
		}
	}
	for _, script := range []string{"echo 1.21.0", "echo devel"} {
		if err := kubectl(t, script).checkComponent(context.Background(), components[0]); err != nil {
			t.Errorf("%s: %v", script, err)
		}
	}
}

func TestKindsAreMissing(t *testing.T) {
	t.Parallel()
	d := kubectl(t, absent)
	d.objects = []manifest.Object{{"apiVersion": "v1", "kind": "ConfigMap"}, {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster"}}
	if err := d.checkKinds(context.Background()); err == nil || !strings.Contains(err.Error(), "install CloudNativePG") {
		t.Errorf("got %v", err)
	}
	d = kubectl(t, `echo '{"resources": [{"kind": "Cluster"}]}'`)
	d.objects = []manifest.Object{{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster"}}
	if err := d.checkKinds(context.Background()); err != nil {
		t.Error(err)
	}
}

func withReferences(d *deployment, values ...string) *deployment {
	var f funcyaml.Function
	for _, v := range values {
		f.Run.Envs = append(f.Run.Envs, funcyaml.Env{Name: "A", Value: v})
	}
	d.functions = []function{{Function: f}}
	return d
}

func TestMissingSecrets(t *testing.T) {
	t.Parallel()
	references := []string{"{{ secret:graf-a:ONE }}", "{{ secret:graf-a:TWO }}", "{{ secret:graf-made:X }}", "plain"}
	none := withReferences(kubectl(t, absent), references...)
	none.objects = []manifest.Object{newSecret("graf-made", nil)}
	if err := none.checkReferences(context.Background()); err == nil ||
		!strings.Contains(err.Error(), "kubectl create secret generic graf-a --namespace graf --from-literal=ONE=… --from-literal=TWO=…") ||
		strings.Contains(err.Error(), "graf-made") {
		t.Errorf("got %v", err)
	}
	some := withReferences(kubectl(t, `echo ONE`), references[:2]...)
	if err := some.checkReferences(context.Background()); err == nil || !strings.Contains(err.Error(), "has no TWO: kubectl edit secret graf-a") {
		t.Errorf("got %v", err)
	}
	all := withReferences(kubectl(t, `echo ONE; echo TWO`), references[:2]...)
	if err := all.checkReferences(context.Background()); err != nil {
		t.Error(err)
	}
}

// A failed migration shows its log, and what to do about a database that is away.
func TestMigrationFails(t *testing.T) {
	t.Parallel()
	const job = `{"metadata": {"name": "j"}, "status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "m"}]}}`
	d := kubectl(t, `case "$*" in
"get job "*) echo '`+job+`' ;;
"get jobs "*) echo '{"items": [`+job+`]}' ;;
"logs "*) echo 'migrate: dial tcp 10.0.0.1:5432: connection refused' ;;
esac`)
	d.objects = []manifest.Object{{"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": "graf-migrate"}}}
	err := d.migrate(context.Background())
	if err == nil || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), "the database cannot be reached from the cluster") {
		t.Errorf("got %v", err)
	}
	calls, err := os.ReadFile(filepath.Join(d.settings.root, "cluster", "calls"))
	if err != nil || !strings.Contains(string(calls), "delete job j ") {
		t.Errorf("the Job that failed before was left: %s, %v", calls, err)
	}
}

func TestPodsThatCannotStart(t *testing.T) {
	t.Parallel()
	pod := func(reason, message string) string {
		return `{"items": [{"metadata": {"name": "p"}, "status": {"containerStatuses": [{"name": "c", "image": "i", "state": {"waiting": {"reason": "` +
			reason + `", "message": "` + message + `"}}}]}}]}`
	}
	for text, want := range map[string]string{
		pod("ImagePullBackOff", "no such image"):                            "check GRAF_IMAGE_REGISTRY",
		pod("CreateContainerConfigError", "secret x not found"):             "is missing",
		pod("CreateContainerConfigError", "failed to sync secret cache: …"): "",
		pod("ContainerCreating", ""):                                        "",
		`{"items": [{"metadata": {"name": "p"}, "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu"}]}}]}`: "finds no node: Insufficient cpu",
	} {
		err := kubectl(t, `echo '`+text+`'`).cannotStart(context.Background(), "a=b")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// What is there as it should be is left alone.
func TestUnchangedFunctionIsLeftAlone(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "..", "functions", "submit", "func.yaml")
	f, text, err := funcyaml.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	d := kubectl(t, `case "$*" in
"get services.serving"*) cat "$(dirname "$0")/service" ;;
"get configmap"*) echo '{"data": {"A": "b"}}' ;;
"get secret"*) echo '{"metadata": {"resourceVersion": "7"}}' ;;
deploy*|*" deploy "*) exit 9 ;;
esac`)
	wanted := function{Function: f, program: "submit", text: text}
	digest, err := d.digest(context.Background(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	service := `{"metadata": {"generation": 3, "annotations": {"graf.dev/digest": "` + digest + `"}},
		"spec": {"template": {"spec": {"timeoutSeconds": 30, "containers": [{"securityContext": {"readOnlyRootFilesystem": true}}]}}},
		"status": {"observedGeneration": 3, "conditions": [{"type": "Ready", "status": "True"}]}}`
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(d.settings.root, "cluster", "service"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(service)
	if err := d.deployFunction(context.Background(), wanted); err != nil {
		t.Errorf("it was deployed again: %v", err)
	}
	for name, changed := range map[string]string{
		"another digest": strings.Replace(service, digest, "other", 1),
		"not ready":      strings.Replace(service, `"True"`, `"False"`, 1),
		"not observed":   strings.Replace(service, `"generation": 3`, `"generation": 4`, 1),
	} {
		write(changed)
		if err := d.deployFunction(context.Background(), wanted); err == nil {
			t.Errorf("%s: it was not deployed again", name)
		}
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	digest := func(script, image, text string) string {
		d := withReferences(kubectl(t, script), "{{ configMap:graf-config }}", "{{ secret:graf-a:ONE }}")
		d.images["submit"] = image
		f := d.functions[0]
		f.program, f.text = "submit", []byte(text)
		sum, err := d.digest(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	const script = `echo '{"metadata": {"resourceVersion": "7"}, "data": {"A": "b"}}'`
	first := digest(script, "i:1", "text")
	if digest(script, "i:1", "text") != first {
		t.Error("the digest of the same differs")
	}
	for what, other := range map[string]string{
		"image": digest(script, "i:2", "text"), "func.yaml": digest(script, "i:1", "texts"),
		"ConfigMap": digest(strings.Replace(script, `"b"`, `"c"`, 1), "i:1", "text"), "Secret": digest(strings.Replace(script, `"7"`, `"8"`, 1), "i:1", "text"),
	} {
		if other == first {
			t.Errorf("the digest does not depend on the %s", what)
		}
	}
}

func TestPollTellsWhyItIsLate(t *testing.T) {
	t.Parallel()
	late := errors.New("it is late")
	never := func() (bool, error) { return false, nil }
	if err := poll(context.Background(), time.Millisecond, never, func() error { return late }); !errors.Is(err, late) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := poll(ctx, time.Minute, never, func() error { return late }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A source that watches a kind which the cluster lacks never gets ready, so that
// kind has to be looked for, too.
func TestWatchedKindsAreUsed(t *testing.T) {
	t.Parallel()
	got := usedKinds([]manifest.Object{
		{"apiVersion": "sources.knative.dev/v1", "kind": kindAPI, "spec": map[string]any{"resources": []any{
			map[string]any{"apiVersion": "batch/v1", "kind": "Job"},
			map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"},
		}}},
		{"apiVersion": "v1", "kind": "Namespace"}, {"apiVersion": "v1", "kind": "Namespace"},
	})
	want := map[string][]string{
		"sources.knative.dev/v1": {kindAPI}, "batch/v1": {"Job"}, "argoproj.io/v1alpha1": {"Workflow"}, "v1": {"Namespace"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
