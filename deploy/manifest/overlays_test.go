package manifest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/graf-run/graf/deploy/manifest"
)

// overlays are built from the tree as it is.
var overlays = []string{"local", "e2e", "production"}

func build(t *testing.T, overlay string) []manifest.Object {
	t.Helper()
	objects, err := manifest.Build(filepath.Join("..", "overlays", overlay))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func each(t *testing.T, test func(t *testing.T, objects []manifest.Object)) {
	t.Helper()
	for _, overlay := range overlays {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			test(t, build(t, overlay))
		})
	}
}

func objectsOf(value any) []manifest.Object {
	var objects []manifest.Object
	all, _ := value.([]any)
	for _, one := range all {
		fields, _ := one.(map[string]any)
		objects = append(objects, fields)
	}
	return objects
}

// The restricted Pod Security Standard and more, for all that has a pod.
func TestPodsAreConfined(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, objects []manifest.Object) {
		pods := 0
		for _, o := range objects {
			pod, _ := o.At("spec", "template", "spec").(map[string]any)
			if pod == nil {
				continue
			}
			pods++
			spec := manifest.Object(pod)
			if spec.At("securityContext", "runAsNonRoot") != true || spec.At("securityContext", "seccompProfile", "type") != "RuntimeDefault" ||
				spec.At("automountServiceAccountToken") != (o.Name() == "graf-worker") { // which has rights
				t.Errorf("%s %s: its pod may run as root, without a seccomp profile, or has a token", o.Kind(), o.Name())
			}
			for _, c := range objectsOf(spec.At("containers")) {
				if c.At("securityContext", "readOnlyRootFilesystem") != true || c.At("securityContext", "allowPrivilegeEscalation") != false ||
					len(c.At("securityContext", "capabilities", "drop").([]any)) == 0 {
					t.Errorf("%s %s: container %v is not confined", o.Kind(), o.Name(), c.At("name"))
				}
				for _, path := range [][]string{{"limits", "memory"}, {"limits", "cpu"}, {"requests", "memory"}, {"requests", "cpu"}} {
					if c.At(append([]string{"resources"}, path...)...) == nil {
						t.Errorf("%s %s: container %v has no %s", o.Kind(), o.Name(), c.At("name"), strings.Join(path, "."))
					}
				}
			}
		}
		if pods == 0 {
			t.Error("there is not even the migration")
		}
	})
}

func TestNamespacesAreRestricted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, objects []manifest.Object) {
		namespaces, _ := manifest.Split(objects, "Namespace")
		denied := map[string]bool{}
		for _, o := range objects {
			if selector, _ := o.At("spec", "podSelector").(map[string]any); o.Kind() == "NetworkPolicy" && selector != nil && len(selector) == 0 && o.At("spec", "ingress") == nil && o.At("spec", "egress") == nil {
				denied[o.Namespace()] = true
			}
		}
		for _, o := range namespaces {
			if o.At("metadata", "labels", "pod-security.kubernetes.io/enforce") != "restricted" || !denied[o.Name()] {
				t.Errorf("namespace %s is not restricted, or has no policy that denies by default", o.Name())
			}
		}
	})
}

// Agents reach functions by the ingress alone: neither Knative's own pods, the
// Broker among them, nor a function's.
func TestAgentsReachWhatTheyNeed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, objects []manifest.Object) {
		policy := manifest.Find(objects, "NetworkPolicy", "graf-agents")
		for _, rule := range objectsOf(policy.At("spec", "egress")) {
			for _, to := range objectsOf(rule.At("to")) {
				if to.At("podSelector") != nil {
					t.Errorf("agents reach pods of their namespace: %v", to)
				}
				for _, names := range objectsOf(to.At("namespaceSelector", "matchExpressions")) {
					for _, closed := range []string{"knative-serving", "knative-eventing", "graf"} {
						if slices.Contains(names.At("values").([]any), any(closed)) {
							t.Errorf("agents reach namespace %s", closed)
						}
					}
				}
			}
		}
		if len(objectsOf(policy.At("spec", "egress"))) == 0 {
			t.Error("agents reach nothing")
		}
	})
}

// What eventing/ has, which the local broker reads file by file, is deployed.
func TestEveryTriggerIsDeployed(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../eventing/[0-9]*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("files of eventing/: %v, %v", files, err)
	}
	text, err := os.ReadFile("../../eventing/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Resources []string }
	if err := yaml.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !slices.Contains(list.Resources, filepath.Base(file)) {
			t.Errorf("eventing/kustomization.yaml lacks %s", filepath.Base(file))
		}
	}
}

func TestEveryDeliveryIsBounded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, objects []manifest.Object) {
		triggers, _ := manifest.Split(objects, "Trigger", "Broker")
		if len(triggers) < 8 {
			t.Errorf("%d Triggers and Brokers; want those of eventing/", len(triggers))
		}
		for _, o := range triggers {
			for _, field := range []string{"retry", "backoffPolicy", "backoffDelay", "timeout", "deadLetterSink"} {
				if o.At("spec", "delivery", field) == nil {
					t.Errorf("%s %s has no delivery.%s", o.Kind(), o.Name(), field)
				}
			}
		}
	})
}

// Rights are of one namespace, by name, and only those who use them get a token.
func TestRightsAreTheLeast(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, objects []manifest.Object) {
		for _, o := range objects {
			switch o.Kind() {
			case "ClusterRole", "ClusterRoleBinding":
				t.Errorf("%s %s is on by default", o.Kind(), o.Name())
			case "Role":
				for _, rule := range objectsOf(o.At("rules")) {
					for _, field := range []string{"verbs", "resources", "apiGroups"} {
						if slices.Contains(rule.At(field).([]any), any("*")) {
							t.Errorf("Role %s: all %s", o.Name(), field)
						}
					}
				}
			case "ServiceAccount":
				uses := slices.Contains([]string{"graf-callback", "graf-launch", "graf-finalize", "graf-worker"}, o.Name())
				// The sources' pods are Knative's, which mount what they need.
				if o.Name() != "graf-jobs" && o.Name() != "graf-resources" && o.At("automountServiceAccountToken") != uses {
					t.Errorf("ServiceAccount %s: token %v, want %v", o.Name(), o.At("automountServiceAccountToken"), uses)
				}
			}
		}
	})
}

// What the production overlay needs of Secrets is in its example, by name and key.
func TestSecretsHaveAnExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../overlays/production/secrets.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	example := map[string]manifest.Object{}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var o manifest.Object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		example[o.Namespace()+"/"+o.Name()] = o
	}
	for _, o := range build(t, "production") {
		for _, r := range manifest.RequiredSecrets(o) {
			for _, key := range r.Keys {
				if example[o.Namespace()+"/"+r.Name].At("stringData", key) == nil {
					t.Errorf("%s %s needs key %s of Secret %s/%s, which the example has not", o.Kind(), o.Name(), key, o.Namespace(), r.Name)
				}
			}
		}
	}
}

// withComponent is the local overlay with a component that is off by default.
func withComponent(t *testing.T, component string) []manifest.Object {
	t.Helper()
	folder := t.TempDir()
	here, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	// kustomize takes no absolute paths.
	deploy, err := filepath.Rel(folder, here)
	if err != nil {
		t.Fatal(err)
	}
	overlay := "resources: [" + deploy + "/overlays/local]\ncomponents: [" + deploy + "/components/" + component + "]\n"
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := manifest.Build(folder)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// The worker has the rights of launch and finalize and no other, and its Triggers reach it.
func TestTemporalWorker(t *testing.T) {
	t.Parallel()
	objects := build(t, "e2e")
	for binding, role := range map[string]string{"graf-worker-launch": "graf-launch", "graf-worker-finalize": "graf-finalize"} {
		if got := manifest.Find(objects, "RoleBinding", binding).At("roleRef", "name"); got != role {
			t.Errorf("%s binds %v, want %s", binding, got, role)
		}
	}
	for _, name := range []string{"graf-worker-task", "graf-worker-job-changed"} {
		trigger := manifest.Find(objects, "Trigger", name)
		if trigger.At("spec", "subscriber", "ref", "name") != "graf-worker" || trigger.At("spec", "delivery", "deadLetterSink") == nil {
			t.Errorf("Trigger %s does not reach the worker, or has no dead-letter sink", name)
		}
	}
	worker := manifest.Find(objects, "Deployment", "graf-worker")
	pod := manifest.Object(worker.At("spec", "template", "spec").(map[string]any))
	if pod.At("serviceAccountName") != "graf-worker" || pod.At("securityContext", "runAsNonRoot") != true ||
		objectsOf(pod.At("containers"))[0].At("securityContext", "readOnlyRootFilesystem") != true {
		t.Error("the worker's pod is not confined, or has another's account")
	}
}

// What tasks can be given is what launch has, and the worker, which does its work.
func TestKubernetesManager(t *testing.T) {
	t.Parallel()
	for component, kind := range map[string]string{"kubernetes-manager": "ClusterRoleBinding", "kubernetes-manager-namespaced": "RoleBinding"} {
		objects := withComponent(t, component)
		for binding, account := range map[string]string{"graf-kubernetes-manager": "graf-launch", "graf-kubernetes-rights": "graf-finalize"} {
			var names []any
			for _, subject := range objectsOf(manifest.Find(objects, kind, binding).At("subjects")) {
				names = append(names, subject.At("name"))
			}
			if !slices.Equal(names, []any{account, "graf-worker"}) {
				t.Errorf("%s: %s binds %v, want %s and the worker", component, binding, names, account)
			}
		}
	}
}

// The tests' overlay lets tasks run in every mode, and has a part for each.
func TestEveryModeIsDeployed(t *testing.T) {
	t.Parallel()
	objects := build(t, "e2e")
	var rules struct {
		Rules []struct{ Executions []struct{ Modes []string } }
	}
	text, _ := manifest.Find(objects, "ConfigMap", "graf-policy").At("data", "policy.yaml").(string)
	if err := yaml.Unmarshal([]byte(text), &rules); err != nil {
		t.Fatal(err)
	}
	last := rules.Rules[len(rules.Rules)-1]
	if !slices.Equal(last.Executions[0].Modes, []string{"direct", "argo", "temporal"}) {
		t.Errorf("every caller may run tasks of modes %v", last.Executions[0].Modes)
	}
	server, err := os.ReadFile("../../e2e/temporal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var service manifest.Object
	for document := range strings.SplitSeq(string(server), "\n---\n") {
		var o manifest.Object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		if o.Kind() == "Service" {
			service = o
		}
	}
	want := fmt.Sprintf("%s.%s.svc.cluster.local:%v", service.Name(), service.Namespace(), objectsOf(service.At("spec", "ports"))[0].At("port"))
	if address := manifest.Find(objects, "ConfigMap", "graf-temporal").At("data", "GRAF_TEMPORAL_ADDRESS"); address != want {
		t.Errorf("Temporal is looked for at %v, and is at %s", address, want)
	}
}

// Workflows are watched beside Jobs, their events come to finalize as those of Jobs
// do, and Argo's container has a token of its own.
func TestArgo(t *testing.T) {
	t.Parallel()
	objects := build(t, "e2e")
	var kinds []any
	for _, watched := range objectsOf(manifest.Find(objects, "ApiServerSource", "graf-jobs").At("spec", "resources")) {
		kinds = append(kinds, watched.At("kind"))
		if watched.At("selector", "matchLabels", "app.kubernetes.io/managed-by") != "graf" {
			t.Errorf("the source watches every %v", watched.At("kind"))
		}
	}
	if !slices.Equal(kinds, []any{"Job", "Workflow"}) {
		t.Errorf("the source watches %v", kinds)
	}
	ofJobs, ofWorkflows := manifest.Find(objects, "Trigger", "graf-finalize-job-changed"), manifest.Find(objects, "Trigger", "graf-finalize-workflow-changed")
	for _, field := range []string{"broker", "subscriber", "delivery"} {
		if !reflect.DeepEqual(ofJobs.At("spec", field), ofWorkflows.At("spec", field)) {
			t.Errorf("%s of the two Triggers differ", field)
		}
	}
	token := manifest.Find(objects, "Secret", "graf-argo-executor.service-account-token")
	if manifest.Find(objects, "ServiceAccount", "graf-argo-executor") == nil || token == nil || token.At("type") != "kubernetes.io/service-account-token" {
		t.Error("Argo's container has no token")
	}
}

// The source of resources tells of no more than its Trigger takes, never of Graf's own namespace, and both it and
// finalize may only read, in the namespace that is given.
func TestWatch(t *testing.T) {
	t.Parallel()
	objects := withComponent(t, "watch-namespace") // beside watch, which the overlay has
	source := manifest.Find(objects, "ApiServerSource", "graf-resources")
	var kinds []any
	for _, watched := range objectsOf(source.At("spec", "resources")) {
		kinds = append(kinds, watched.At("kind"))
	}
	if !slices.Equal(kinds, []any{"Deployment", "Revision"}) || source.At("spec", "mode") != "Resource" {
		t.Errorf("the source watches %v", kinds)
	}
	names := objectsOf(source.At("spec", "namespaceSelector", "matchExpressions"))
	if source.At("spec", "namespaceSelector", "matchLabels", "graf.dev/watch") != "true" || len(names) != 1 ||
		names[0].At("operator") != "NotIn" || !reflect.DeepEqual(names[0].At("values"), []any{"graf"}) {
		t.Errorf("the source watches namespaces by %v", source.At("spec", "namespaceSelector"))
	}
	trigger := manifest.Find(objects, "Trigger", "graf-finalize-resource-changed")
	if trigger.At("spec", "subscriber", "ref", "name") != "graf-finalize" || len(objectsOf(trigger.At("spec", "filters"))) != 2 {
		t.Error("the Trigger does not reach finalize, or takes everything")
	}
	for binding, account := range map[string]string{"graf-resources": "graf-resources", "graf-finalize-resources": "graf-finalize"} {
		subjects := objectsOf(manifest.Find(objects, "RoleBinding", binding).At("subjects"))
		if len(subjects) != 1 || subjects[0].At("name") != account {
			t.Errorf("%s binds %v, want %s", binding, subjects, account)
		}
		for _, rule := range objectsOf(manifest.Find(objects, "Role", binding).At("rules")) {
			for _, verb := range rule.At("verbs").([]any) {
				if !slices.Contains([]any{"get", "list", "watch"}, verb) || account == "graf-finalize" && verb != "get" {
					t.Errorf("%s may %v %v", account, verb, rule.At("resources"))
				}
			}
		}
	}
}
