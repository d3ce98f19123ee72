package kube_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/graf-run/graf/shared/kube"
)

func workflow(status string) string {
	return `{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "codex-t-2", "namespace": "graf", "uid": "u",
		"labels": {"graf.dev/task-id": "t", "graf.dev/attempt": "2"}}, "spec": {}, "status": ` + status + `}`
}

func TestParseWorkflow(t *testing.T) {
	t.Parallel()
	const times = `"startedAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:05:06Z"`
	ended := func(phase, message, nodes string) string {
		return `{"phase": "` + phase + `", "message": "` + message + `", "nodes": {` + nodes + `}, ` + times + `}`
	}
	const podDeadline = "Pod was active on the node longer than the specified deadline"
	for name, c := range map[string]struct {
		status  string
		phase   kube.Phase
		reason  string
		message string
	}{
		"not seen yet":   {`{}`, kube.PhaseActive, "", ""},
		"waits":          {`{"phase": "Pending", "startedAt": null, "finishedAt": null, "message": "Waiting to acquire the lock"}`, kube.PhaseActive, "", ""},
		"runs":           {`{"phase": "Running", "startedAt": "2026-01-02T03:04:05Z", "finishedAt": null}`, kube.PhaseActive, "", ""},
		"succeeded":      {ended("Succeeded", "", ""), kube.PhaseSucceeded, "", ""},
		"failed":         {ended("Failed", "main: Error (exit code 7)", ""), kube.PhaseFailed, "Failed", "main: Error (exit code 7)"},
		"error":          {ended("Error", "no such template", ""), kube.PhaseFailed, "Error", "no such template"},
		"shut down":      {ended("Failed", "Stopped with strategy 'Terminate'", ""), kube.PhaseFailed, "Failed", "Stopped with strategy 'Terminate'"},
		"pod's deadline": {ended("Failed", podDeadline, ""), kube.PhaseDeadlineExceeded, "DeadlineExceeded", podDeadline},
		"its deadline":   {ended("Failed", "Step exceeded its deadline", ""), kube.PhaseDeadlineExceeded, "DeadlineExceeded", "Step exceeded its deadline"},
		"retries' bound": {ended("Failed", "Max duration limit exceeded", ""), kube.PhaseDeadlineExceeded, "DeadlineExceeded", "Max duration limit exceeded"},
		"a step's deadline": {
			ended("Failed", "child 'codex-t-2-1' failed", `"a": {"phase": "Succeeded"}, "b": {"phase": "Failed", "message": "`+podDeadline+`"}`),
			kube.PhaseDeadlineExceeded, "DeadlineExceeded", "child 'codex-t-2-1' failed",
		},
		"an agent that says so": {
			ended("Failed", "main: Error (exit code 1): Step exceeded its deadline", ""),
			kube.PhaseFailed, "Failed", "main: Error (exit code 1): Step exceeded its deadline",
		},
		"a step that another made good": {
			ended("Succeeded", "", `"b": {"phase": "Failed", "message": "`+podDeadline+`"}`), kube.PhaseSucceeded, "", "",
		},
		"odd": {`{"phase": 3, "startedAt": 5, "nodes": [], "message": {}}`, kube.PhaseActive, "", ""},
		"odd end": {`{"phase": "Failed", "nodes": {"a": 3, "b": {"phase": 4}}, "message": 5, ` + times + `}`,
			kube.PhaseFailed, "Failed", ""},
	} {
		got, err := kube.ParseJSON([]byte(workflow(c.status)))
		want := kube.Execution{Kind: "Workflow", Name: "codex-t-2", Namespace: "graf", UID: "u"}
		if err != nil || got.Phase != c.phase || got.Reason != c.reason || got.Message != c.message || got.Execution != want ||
			got.TaskID != "t" || got.Attempt != 2 || got.FinishedAt.IsZero() == got.Finished() {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestParseWorkflowRefusesOthers(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		strings.Replace(workflow("{}"), `"Workflow"`, `"CronWorkflow"`, 1),
		strings.Replace(workflow("{}"), "argoproj.io", "workflows.example", 1),
		strings.Replace(workflow("{}"), `"2"`, `"two"`, 1),
		strings.Replace(workflow("{}"), "graf.dev/task-id", "other", 1),
	} {
		if got, err := kube.ParseJSON([]byte(data)); !errors.Is(err, kube.ErrInvalid) {
			t.Errorf("%s: %+v, %v", data, got, err)
		}
	}
}

func TestKindFor(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]string{"argo": kube.KindWorkflow, "direct": kube.KindJob, "temporal": kube.KindJob, "": kube.KindJob} {
		if got := kube.KindFor(mode); got != want {
			t.Errorf("%q runs as a %s, want a %s", mode, got, want)
		}
	}
}

// TestWithoutArgo answers as an API server does for a kind that it does not serve.
func TestWithoutArgo(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/apis/batch/v1/") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"apiVersion": "batch/v1", "kind": "JobList", "metadata": {}, "items": [%s]}`, job("{}"))
	}))
	t.Cleanup(server.Close)
	client, err := kube.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if listed, err := client.List(t.Context(), "graf"); err != nil || len(listed) != 1 {
		t.Errorf("listed %v, %v; want the one Job", listed, err)
	}
	spec := validSpec()
	spec.Kind = kube.KindWorkflow
	if _, err := client.Launch(t.Context(), spec); !errors.Is(err, kube.ErrNotFound) || !strings.Contains(err.Error(), "install Argo") {
		t.Errorf("got %v, want what is missing and how to mend it", err)
	}
}
