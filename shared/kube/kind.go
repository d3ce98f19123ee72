package kube

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/graf-run/graf/shared/manifest"
)

// The kinds of executions.
const (
	// KindJob is a Kubernetes Job.
	KindJob = "Job"
	// KindWorkflow is an Argo Workflow.
	KindWorkflow = "Workflow"
)

// KindFor returns the kind of the executions of a task with this orchestration mode.
func KindFor(orchestrationMode string) string {
	if orchestrationMode == "argo" {
		return KindWorkflow
	}
	return KindJob
}

// executionKind is what tells the kinds of executions apart.
type executionKind struct {
	name     string
	resource schema.GroupVersionResource
	// podLabel is what the kind's controller puts on its pods, with the execution's name as the value.
	podLabel string
	// container is the name of the agent's container in the pod.
	container string
}

var (
	jobKind = executionKind{
		name: KindJob, resource: schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"},
		podLabel: "batch.kubernetes.io/job-name", container: "agent",
	}
	workflowKind = executionKind{
		name: KindWorkflow, resource: schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"},
		podLabel: "workflows.argoproj.io/workflow", container: "main", // Argo gives every agent's container this name.
	}
)

func (k executionKind) apiVersion() string { return k.resource.GroupVersion().String() }

// kindNamed is a Job's for every name but a Workflow's: an attempt that was noted before there were others names none.
func kindNamed(name string) executionKind {
	if name == KindWorkflow {
		return workflowKind
	}
	return jobKind
}

func (e Execution) kind() executionKind { return kindNamed(e.Kind) }

// Ref names the execution as a resource.
func (e Execution) Ref() manifest.Ref {
	return manifest.Ref{APIVersion: e.kind().apiVersion(), Kind: e.kind().name, Namespace: e.Namespace, Name: e.Name}
}

// String names the execution for errors.
func (e Execution) String() string { return e.kind().name + " " + e.Namespace + "/" + e.Name }

func (s JobSpec) kind() executionKind { return kindNamed(s.Kind) }

// execution is the object that runs the attempt.
func (s JobSpec) execution() *unstructured.Unstructured {
	if s.kind().name == KindWorkflow {
		return s.workflow()
	}
	return s.job()
}

func executionOf(o *unstructured.Unstructured) Execution {
	return Execution{Kind: o.GetKind(), Name: o.GetName(), Namespace: o.GetNamespace(), UID: string(o.GetUID())}
}
