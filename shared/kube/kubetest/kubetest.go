// Package kubetest states how an attempt's execution behaves, as cases that every cluster must pass: the local one and a
// real one alike.
package kubetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/kube"
)

// Token is the callback token of the specs that Target.Spec makes.
const Token = "callback-token-of-a-test"

// caseTimeout bounds one case, the pull of the image included.
const caseTimeout = 2 * time.Minute

var jobs = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}

// Target is a cluster under test.
type Target struct {
	// Config returns client-go's settings for the cluster.
	Config *rest.Config
	// Namespace exists and is free for the test's Jobs.
	Namespace string
	// Image has sh, test, sleep and cat, such as busybox.
	Image string
}

// Client returns a client of the target.
func (target Target) Client(t *testing.T) *kube.Client {
	t.Helper()
	client, err := kube.NewForConfig(rest.CopyConfig(target.Config))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Spec returns a spec that runs a shell script as the first attempt of a new task.
func (target Target) Spec(script string) kube.JobSpec {
	id, err := uuid.NewV7()
	if err != nil {
		panic(err) // the system has no random numbers
	}
	return kube.JobSpec{
		TaskID: id.String(), Attempt: 1, Namespace: target.Namespace, Image: target.Image,
		Command: []string{"sh", "-c", script}, Prompt: "# Prompt", CallbackToken: Token,
		CallbackURL: "http://callback.test/v1/codex/tasks/" + id.String() + "/events",
		MemoryURL:   "http://memory.test/v1/codex/tasks/" + id.String() + "/memory",
		Timeout:     time.Minute, Deadline: time.Now().Add(time.Minute), GracePeriod: time.Second, TTL: 10 * time.Minute,
	}
}

// Context returns the context of one case.
func Context(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), caseTimeout)
	t.Cleanup(cancel)
	return ctx
}

// Launch launches a spec and sees to its removal at the end of the test.
func Launch(t *testing.T, client *kube.Client, spec kube.JobSpec) kube.Execution {
	t.Helper()
	execution, err := client.Launch(Context(t), spec)
	if err != nil {
		t.Fatalf("Launch: %v", err)
	}
	t.Cleanup(func() {
		if err := client.Delete(context.Background(), execution); err != nil {
			t.Errorf("Delete: %v", err)
		}
	})
	return execution
}

// AwaitEnd watches an execution until it has finished.
func (target Target) AwaitEnd(ctx context.Context, t *testing.T, execution kube.Execution) kube.Observation {
	t.Helper()
	var last kube.Observation
	err := target.awaitJob(ctx, execution, func(job *unstructured.Unstructured) bool {
		var err error
		last, err = kube.ParseJob(job)
		return err == nil && last.Finished()
	})
	if err != nil {
		t.Fatalf("the end of Job %s: %v; last seen: %+v", execution.Name, err, last)
	}
	return last
}

// awaitJob calls done with the Job as it is and with each of its changes, until done returns true.
func (target Target) awaitJob(
	ctx context.Context, execution kube.Execution, done func(*unstructured.Unstructured) bool,
) error {
	config := rest.CopyConfig(target.Config)
	config.Timeout = 0 // of the watch, which the context bounds
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	for {
		changes, err := client.Resource(jobs).Namespace(execution.Namespace).Watch(ctx,
			metav1.ListOptions{FieldSelector: "metadata.name=" + execution.Name})
		if err != nil {
			return err
		}
		for change := range changes.ResultChan() {
			if job, ok := change.Object.(*unstructured.Unstructured); ok && done(job) {
				changes.Stop()
				return nil
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("while watching: %w", ctx.Err())
		}
	}
}
