// Package kube runs a task's attempt as a Kubernetes Job, or as an Argo Workflow, and reads back how it went.
//
// It uses client-go's dynamic client alone: the generated clientset and its types would cost a function many megabytes
// of binary and the start-up time that goes with them, and six small objects do not need them.
//
// An attempt is three objects that share one name, "codex-<task id>-<attempt>": the Job or the Workflow, a Secret with the
// callback token and the prompt, and, when the task brought manifests, a ConfigMap with them. The first owns the other two,
// so that deleting it, or its time to live, removes all that belongs to the attempt. The container is the same in both.
package kube
