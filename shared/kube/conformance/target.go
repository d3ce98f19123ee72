// Package conformance states how an attempt's execution behaves, as cases that every cluster must pass: the local one and a
// real one alike.
package conformance

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

// resources are what the kinds of executions are in the API.
var resources = map[string]schema.GroupVersionResource{
	kube.KindJob:      {Group: "batch", Version: "v1", Resource: "jobs"},
	kube.KindWorkflow: {Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"},
}

// Target is a cluster under test.
type Target struct {
	// Config returns client-go's settings for the cluster.
	Config *rest.Config
	// Namespace exists and is free for the test's executions.
	Namespace string
	// Kind is what executions are made as; empty means Jobs.
	Kind string
	// WorkflowTemplate is the template of Workflows; empty means the built-in one.
	WorkflowTemplate string
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
		Kind: target.Kind, WorkflowTemplate: target.WorkflowTemplate,
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
	err := target.await(ctx, execution, func(now *unstructured.Unstructured) bool {
		var err error
		last, err = kube.Parse(now)
		return err == nil && last.Finished()
	})
	if err != nil {
		t.Fatalf("the end of %s: %v; last seen: %+v", execution, err, last)
	}
	return last
}

// await calls done with the execution as it is and with each of its changes, until done returns true.
func (target Target) await(
	ctx context.Context, execution kube.Execution, done func(*unstructured.Unstructured) bool,
) error {
	config := rest.CopyConfig(target.Config)
	config.Timeout = 0 // of the watch, which the context bounds
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	for {
		changes, err := client.Resource(resources[execution.Kind]).Namespace(execution.Namespace).Watch(ctx,
			metav1.ListOptions{FieldSelector: "metadata.name=" + execution.Name})
		if err != nil {
			return err
		}
		for change := range changes.ResultChan() {
			if now, ok := change.Object.(*unstructured.Unstructured); ok && done(now) {
				changes.Stop()
				return nil
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("while watching: %w", ctx.Err())
		}
	}
}
