package launch

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
)

// BenchmarkLaunch measures, on a real API server, what it takes to start an attempt: a bare Job, the Job with its
// Secret, and that with the task's two identities and the snapshot of its five resources before. It reports the 50th
// percentile in milliseconds.
func BenchmarkLaunch(b *testing.B) {
	a := setupActing(b)
	names := make([]string, 5)
	for i := range names {
		names[i] = fmt.Sprintf("target-%d", i)
		a.apply(b, names[i], "1", "somebody")
	}
	b.Run("bare Job", func(b *testing.B) {
		median(b, func() any { return uuid.NewString() }, func(id any) error { return a.bareJob(b, fmt.Sprintf("bare-%s", id)) })
	})
	b.Run("Job and Secret", func(b *testing.B) {
		median(b, func() any { return uuid.NewString() }, func(id any) error {
			_, err := a.admin.Launch(b.Context(), a.benchSpec(fmt.Sprint(id), ""))
			return err
		})
	})
	b.Run("with rights and snapshot", func(b *testing.B) {
		task := func() any {
			task := a.granted(b, everything, names...)
			task.Attempt = 1
			return task
		}
		median(b, task, func(made any) error {
			task, _ := made.(query.Task)
			account, err := a.provision(b.Context(), task)
			if err != nil {
				return err
			}
			_, err = a.admin.Launch(b.Context(), a.benchSpec(task.ID.String(), account))
			return err
		})
	})
}

// median measures do by itself, on what prepare makes.
func median(b *testing.B, prepare func() any, do func(any) error) {
	b.Helper()
	var took []time.Duration
	for b.Loop() {
		made := prepare()
		began := time.Now()
		if err := do(made); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
}

func (a acting) benchSpec(task, account string) kube.JobSpec {
	return kube.JobSpec{
		TaskID: task, Attempt: 1, Namespace: a.server.Namespace, Image: "agent:1", Command: []string{"agent"},
		Prompt: "Give the broker filter a memory limit.", CallbackToken: "token", Timeout: time.Minute, ServiceAccount: account,
	}
}

func (a acting) bareJob(b *testing.B, name string) error {
	b.Helper()
	job := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": name, "namespace": a.server.Namespace},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"restartPolicy": "Never",
			"containers":    []any{map[string]any{"name": "agent", "image": "agent:1", "command": []any{"agent"}}},
		}}},
	}}
	_, err := a.server.Dynamic.Resource(schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}).
		Namespace(a.server.Namespace).Create(b.Context(), job, metav1.CreateOptions{})
	return err
}
