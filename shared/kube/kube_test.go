package kube_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/kube"
)

func validSpec() kube.JobSpec {
	return kube.JobSpec{
		TaskID: "0190b5a0-0000-7000-8000-000000000000", Attempt: 1, Namespace: "graf", Image: "image",
		Command: []string{"true"}, CallbackToken: "token", Timeout: time.Minute,
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := validSpec().Validate(); err != nil {
		t.Fatal(err)
	}
	for message, spoil := range map[string]func(*kube.JobSpec){
		"attempts count from 1":        func(s *kube.JobSpec) { s.Attempt = 0 },
		"gives the Job name":           func(s *kube.JobSpec) { s.TaskID = "Upper_case" },
		"must be no more than 63":      func(s *kube.JobSpec) { s.TaskID = strings.Repeat("a", 64) },
		`namespace ""`:                 func(s *kube.JobSpec) { s.Namespace = "" },
		"image is empty":               func(s *kube.JobSpec) { s.Image = "" },
		"command is empty":             func(s *kube.JobSpec) { s.Command = []string{""} },
		"callback token is empty":      func(s *kube.JobSpec) { s.CallbackToken = "" },
		`env name "A=B"`:               func(s *kube.JobSpec) { s.Env = map[string]string{"A=B": ""} },
		`"GRAF_TASK_ID" is reserved`:   func(s *kube.JobSpec) { s.Env = map[string]string{"GRAF_TASK_ID": ""} },
		`"TRACEPARENT" is reserved`:    func(s *kube.JobSpec) { s.Env = map[string]string{"TRACEPARENT": ""} },
		`manifest file name "../a"`:    func(s *kube.JobSpec) { s.Manifests = map[string][]byte{"../a": nil} },
		"at most 1048576 fit":          func(s *kube.JobSpec) { s.Manifests = map[string][]byte{"a": make([]byte, 1<<20+1)} },
		"prompt is 1048576 bytes":      func(s *kube.JobSpec) { s.Prompt = strings.Repeat("a", 1<<20) },
		"timeout must be longer":       func(s *kube.JobSpec) { s.Timeout = 0 },
		"cannot be negative":           func(s *kube.JobSpec) { s.TTL = -1 },
		`kind is "Pod"`:                func(s *kube.JobSpec) { s.Kind = "Pod" },
		"is for a Workflow":            func(s *kube.JobSpec) { s.WorkflowTemplate = "agents" },
		"which Argo would replace":     func(s *kube.JobSpec) { s.Kind, s.Image = kube.KindWorkflow, "{{workflow.name}}" },
		`template "Agents"`:            func(s *kube.JobSpec) { s.Kind, s.WorkflowTemplate = kube.KindWorkflow, "Agents" },
		`"much" is no Kubernetes quan`: func(s *kube.JobSpec) { s.Limits = map[string]string{"memory": "much"} },
	} {
		spec := validSpec()
		spoil(&spec)
		err := spec.Validate()
		if !errors.Is(err, kube.ErrInvalid) || !strings.Contains(err.Error(), message) {
			t.Errorf("got %v, want one with %q", err, message)
		}
	}
}

// What the API refuses as reserved is what a Job cannot have.
func TestReservedVariables(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"GRAF_TASK_ID", "GRAF_", "TRACEPARENT", "GRAF", "TRACEPARENT2", "A"} {
		spec := validSpec()
		spec.Env = map[string]string{name: ""}
		if err := spec.Validate(); (err != nil) != api.ReservedVariable(name) {
			t.Errorf("%s: reserved is %v, but the Job says: %v", name, api.ReservedVariable(name), err)
		}
	}
}

func job(status string) string {
	return `{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "codex-t-2", "namespace": "graf", "uid": "u",
		"labels": {"graf.dev/task-id": "t", "graf.dev/attempt": "2"}}, "status": ` + status + `}`
}

func TestParseJob(t *testing.T) {
	t.Parallel()
	const start, end = "2026-01-02T03:04:05Z", "2026-01-02T03:05:06Z"
	failed := func(kind, reason string) string {
		return `{"startTime": "` + start + `", "conditions": [{"type": "` + kind + `", "status": "True", "reason": "` + reason +
			`", "message": "m", "lastTransitionTime": "` + end + `"}]}`
	}
	for name, c := range map[string]struct {
		status string
		phase  kube.Phase
		reason string
	}{
		"new":       {`{}`, kube.PhaseActive, ""},
		"active":    {`{"active": 1, "startTime": "` + start + `"}`, kube.PhaseActive, ""},
		"completed": {`{"conditions": [{"type": "Complete", "status": "True"}], "completionTime": "` + end + `"}`, kube.PhaseSucceeded, ""},
		"failed":    {failed("Failed", "BackoffLimitExceeded"), kube.PhaseFailed, "BackoffLimitExceeded"},
		"deadline":  {failed("Failed", "DeadlineExceeded"), kube.PhaseDeadlineExceeded, "DeadlineExceeded"},
		// The pods still run when these are set.
		"failing":    {failed("FailureTarget", "BackoffLimitExceeded"), kube.PhaseActive, ""},
		"overdue":    {failed("FailureTarget", "DeadlineExceeded"), kube.PhaseActive, ""},
		"succeeding": {failed("SuccessCriteriaMet", "CompletionsReached"), kube.PhaseActive, ""},
		"not true":   {`{"conditions": [{"type": "Failed", "status": "False"}]}`, kube.PhaseActive, ""},
		"odd":        {`{"conditions": [3, {"type": 4, "status": "True"}], "startTime": 5}`, kube.PhaseActive, ""},
	} {
		got, err := kube.ParseJSON([]byte(job(c.status)))
		want := kube.Execution{Kind: "Job", Name: "codex-t-2", Namespace: "graf", UID: "u"}
		if err != nil || got.Phase != c.phase || got.Reason != c.reason || got.Execution != want ||
			got.TaskID != "t" || got.Attempt != 2 || got.FinishedAt.IsZero() == got.Finished() ||
			got.Stopping() != (name == "overdue") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// A Job that is deleted in the foreground is there until its pod has ended, which must be when the pod's grace is over.
func TestParseJobThatIsDeleted(t *testing.T) {
	t.Parallel()
	text := strings.Replace(job(`{"active": 1}`), `"metadata": {`,
		`"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 40}}}, "metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z", `, 1)
	got, err := kube.ParseJSON([]byte(text))
	if err != nil || !got.Stopping() || got.StopsBy.UTC().Format(time.RFC3339) != "2026-01-02T03:04:45Z" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseJobRefusesOthers(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		"", "null", "{}", "[]", `{"apiVersion": "batch/v1", "kind": "Job"}`,
		strings.Replace(job("{}"), `"Job"`, `"Pod"`, 1),
		strings.Replace(job("{}"), `"2"`, `"two"`, 1),
		strings.Replace(job("{}"), `"2"`, `"0"`, 1),
	} {
		if got, err := kube.ParseJSON([]byte(data)); !errors.Is(err, kube.ErrInvalid) {
			t.Errorf("%s: %+v, %v", data, got, err)
		}
	}
}

func TestKindsOfErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code    int
		message string
		want    error
	}{
		"bad request":    {400, "", kube.ErrInvalid},
		"unknown caller": {401, "", kube.ErrUnavailable},
		"no right":       {403, "", kube.ErrForbidden},
		"quota":          {403, "exceeded quota: jobs", kube.ErrUnavailable},
		"absent":         {404, "", kube.ErrNotFound},
		"refused":        {422, "", kube.ErrInvalid},
		"fault":          {500, "", kube.ErrUnavailable},
		"no answer":      {0, "", kube.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.code == 0 {
					panic(http.ErrAbortHandler)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.code)
				_, _ = fmt.Fprintf(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": %d, "message": %q}`, c.code, c.message)
			}))
			t.Cleanup(server.Close)
			client, err := kube.NewForConfig(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			// client-go repeats a read that got no answer; the caller's deadline ends that.
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			defer cancel()
			if _, err := client.List(ctx, "graf"); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	malformed := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(malformed, []byte("]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for message, config := range map[string]kube.Config{
		"GRAF_KUBERNETES_TIMEOUT":  {Kubeconfig: malformed},
		"no KUBECONFIG is set":     {Timeout: time.Second},
		"KUBECONFIG=/no/such/file": {Timeout: time.Second, Kubeconfig: "/no/such/file"},
		"KUBECONFIG=" + malformed:  {Timeout: time.Second, Kubeconfig: malformed},
	} {
		if _, err := kube.New(config); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("got %v, want one with %q", err, message)
		}
	}
}
