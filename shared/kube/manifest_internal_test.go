package kube

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

func fullSpec() JobSpec {
	return JobSpec{
		TaskID: "0190b5a0-0000-7000-8000-000000000000", Attempt: 2, Namespace: "graf", Image: "registry.example/agent:1",
		Command: []string{"sh", "-c", `echo "$HOME {{workflow.name}}"`}, Env: map[string]string{"MODEL": "{{=1+1}} – é"},
		RunnerImage: "registry.example/runner:1", ModelPrices: `{"gpt-5*": {"input": 1.25}}`,
		SecretEnv: map[string]SecretKey{"OPENAI_API_KEY": {Name: "graf-agent", Key: "OPENAI_API_KEY", Optional: true}},
		Prompt:    "# Prompt", CallbackToken: "token",
		CallbackURL: "http://callback.example/v1/codex/tasks/0190b5a0-0000-7000-8000-000000000000/events",
		MemoryURL:   "http://memory.example/v1/codex/tasks/0190b5a0-0000-7000-8000-000000000000/memory",
		Manifests:   map[string][]byte{"web.yaml": []byte("kind: Deployment")},
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Timeout:     90 * time.Second, Deadline: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		ServiceAccount: "agent", Requests: map[string]string{"cpu": "100m"}, Limits: map[string]string{"memory": "256Mi"},
	}
}

// TestManifests compares what the cluster is given with testdata; go test -update writes it anew.
func TestManifests(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*JobSpec){
		"job":      func(*JobSpec) {},
		"workflow": func(s *JobSpec) { s.Kind = KindWorkflow },
		"workflow-from-template": func(s *JobSpec) {
			s.Kind, s.WorkflowTemplate = KindWorkflow, "agents"
			s.Manifests, s.ServiceAccount = nil, ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := fullSpec()
			change(&spec)
			if err := spec.Validate(); err != nil {
				t.Fatal(err)
			}
			made := spec.execution()
			made.SetUID("uid")
			owner := executionOf(made)
			made.SetUID("")
			objects := append([]*unstructured.Unstructured{made}, spec.dependents(owner)...)
			compare(t, filepath.Join("testdata", name+".yaml"), objects)
		})
	}
}

func compare(t *testing.T, file string, objects []*unstructured.Unstructured) {
	t.Helper()
	var documents []string
	for _, o := range objects {
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, string(text))
	}
	got := strings.Join(documents, "---\n")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", file, diff)
	}
}

// TestPodPatch takes the patch the way that Argo does: quoted as Go quotes, put into JSON, and read twice.
func TestPodPatch(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"plain", "$HOME $$", "{{workflow.name}}", "{{{{=sprig.env('HOME')}}}}", "{ { {", `\{{\\{{"}}`, "a\nb\tc\x00\x1b\x7f",
		"é – \u200b\u2028", "\U0001f600 \U000e0001", "<a>&'",
	} {
		spec := fullSpec()
		spec.Command, spec.Env = []string{"echo", text}, map[string]string{"TEXT": text}
		patch := spec.podPatch()
		if strings.Contains(patch, "{{") {
			t.Errorf("%q: the patch has {{: %s", text, patch)
		}
		var handed string
		if err := json.Unmarshal([]byte(strconv.Quote(patch)), &handed); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		var got, want object
		if err := json.Unmarshal([]byte(handed), &got); err != nil {
			t.Fatalf("%q: %v in %s", text, err, handed)
		}
		encoded, err := json.Marshal(spec.pod())
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(encoded, &want); err != nil {
			t.Fatal(err)
		}
		delete(want, "restartPolicy")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

// Whoever may read Workflows may not thereby read prompts and tokens.
func TestWorkflowHoldsNoSecret(t *testing.T) {
	t.Parallel()
	spec := fullSpec()
	spec.Kind, spec.Prompt, spec.CallbackToken = KindWorkflow, "the prompt itself", "the token itself"
	for _, template := range []string{"", "agents"} {
		spec.WorkflowTemplate = template
		text, err := spec.workflow().MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), spec.Prompt) || strings.Contains(string(text), spec.CallbackToken) {
			t.Errorf("template %q: %s", template, text)
		}
	}
}

// Where templates are obligatory, Argo refuses a Workflow that sets anything else.
func TestWorkflowFromTemplateSetsWhatItMay(t *testing.T) {
	t.Parallel()
	spec := fullSpec()
	spec.Kind, spec.WorkflowTemplate = KindWorkflow, "agents"
	set, _, _ := unstructured.NestedMap(spec.workflow().Object, "spec")
	want := []string{"activeDeadlineSeconds", "archiveLogs", "arguments", "ttlStrategy", "workflowTemplateRef"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(set))); diff != "" {
		t.Error(diff)
	}
}

func TestTerminationOfAWorkflowsPods(t *testing.T) {
	t.Parallel()
	pod := func(name, phase, created string, code int64) *unstructured.Unstructured {
		ended := func(container string, code int64) object {
			return object{"name": container, "state": object{"terminated": object{"exitCode": code, "reason": "Ended"}}}
		}
		return &unstructured.Unstructured{Object: object{
			"metadata": object{"name": name, "creationTimestamp": created},
			"status":   object{"phase": phase, "containerStatuses": []any{ended("wait", 0), ended("main", code)}},
		}}
	}
	old, failed := pod("old", "Succeeded", "2026-01-01T00:00:00Z", 0), pod("failed", "Failed", "2026-01-01T00:00:01Z", 7)
	exit := pod("exit handler", "Succeeded", "2026-01-01T00:00:02Z", 0)
	if !tellsMore(failed, old) || !tellsMore(exit, old) || tellsMore(exit, failed) || tellsMore(old, failed) {
		t.Error("not the newest that failed, or else the newest, is chosen")
	}
	if got := parsePod(failed, workflowKind.container); got.ExitCode != 7 {
		t.Errorf("got %+v, want what the container main says", got)
	}
	if got := parsePod(failed, "none"); got.ExitCode != ExitUnknown {
		t.Errorf("got %+v of a container that there is not", got)
	}
}
