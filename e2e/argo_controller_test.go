//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

var workflows = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"}

// argoController stands in for Argo's controller on a cluster without it, as far as
// Graf's built-in template needs one: it makes a Workflow's pod with the names and
// labels that Argo's has, follows it, and writes the phases and messages that Argo
// writes (workflow/controller/operator.go and workflowpod.go of argo-workflows 4.1).
// The agent's command runs without Argo's emissary around it, and Argo's own container
// beside it is the tests' agent, at rest.
type argoController struct {
	client    dynamic.Interface
	namespace string
}

// startArgoController looks after the Workflows of a namespace until the test ends.
func startArgoController(t testing.TB, client dynamic.Interface, namespace string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var work sync.WaitGroup
	controller := &argoController{client: client, namespace: namespace}
	work.Go(func() { controller.run(ctx, t, &work) })
	t.Cleanup(func() { stop(); work.Wait() })
}

// run follows each Workflow once.
func (c *argoController) run(ctx context.Context, t testing.TB, work *sync.WaitGroup) {
	followed := map[types.UID]bool{}
	for pause(ctx) {
		list, err := c.client.Resource(workflows).Namespace(c.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			continue // the next look may succeed
		}
		for i := range list.Items {
			workflow := &list.Items[i]
			if followed[workflow.GetUID()] || workflow.GetDeletionTimestamp() != nil {
				continue
			}
			followed[workflow.GetUID()] = true
			work.Go(func() {
				if err := c.follow(ctx, workflow); err != nil && ctx.Err() == nil {
					t.Errorf("Workflow %s: %v", workflow.GetName(), err)
				}
			})
		}
	}
}

// follow brings one Workflow from its beginning to its end.
func (c *argoController) follow(ctx context.Context, workflow *unstructured.Unstructured) error {
	started := time.Now().UTC().Truncate(time.Second)
	if err := c.report(ctx, workflow, "Running", "", object{"startedAt": started.Format(time.RFC3339), "finishedAt": nil}); err != nil {
		return err
	}
	pod, err := podOf(workflow)
	if err != nil {
		return c.finish(ctx, workflow, "Error", err.Error())
	}
	if _, err := c.client.Resource(pods).Namespace(c.namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return c.finish(ctx, workflow, "Error", err.Error())
	}
	seconds, _, _ := unstructured.NestedInt64(workflow.Object, "spec", "activeDeadlineSeconds")
	deadline := started.Add(time.Duration(seconds) * time.Second)
	for pause(ctx) {
		now, err := c.client.Resource(pods).Namespace(c.namespace).Get(ctx, pod.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return c.finish(ctx, workflow, "Error", "pod deleted")
		}
		if err != nil {
			continue
		}
		switch phase, _, _ := unstructured.NestedString(now.Object, "status", "phase"); {
		case phase == "Succeeded":
			return c.finish(ctx, workflow, "Succeeded", "")
		case phase == "Failed":
			return c.finish(ctx, workflow, "Failed", messageOf(now))
		case time.Now().After(deadline):
			// Argo signals the containers; what they see is the same.
			_ = c.client.Resource(pods).Namespace(c.namespace).Delete(ctx, pod.GetName(), metav1.DeleteOptions{})
			return c.finish(ctx, workflow, "Failed", "Step exceeded its deadline")
		}
	}
	return ctx.Err()
}

func (c *argoController) finish(ctx context.Context, workflow *unstructured.Unstructured, phase, message string) error {
	return c.report(ctx, workflow, phase, message, object{"finishedAt": time.Now().UTC().Format(time.RFC3339)})
}

// report writes the status, which is no subresource of a Workflow's. That the Workflow
// is gone by now is no error.
func (c *argoController) report(ctx context.Context, workflow *unstructured.Unstructured, phase, message string, times object) error {
	status := object{"phase": phase, "message": message}
	maps.Copy(status, times)
	patch, err := json.Marshal(object{
		"metadata": object{"uid": workflow.GetUID(), "labels": object{"workflows.argoproj.io/phase": phase}},
		"status":   status,
	})
	if err != nil {
		return err
	}
	_, err = c.client.Resource(workflows).Namespace(c.namespace).Patch(ctx, workflow.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// podOf is the pod of the entrypoint's container, with Argo's own beside it.
func podOf(workflow *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	text, err := json.Marshal(workflow.Object["spec"])
	if err != nil {
		return nil, err
	}
	spec := object{}
	if err := json.Unmarshal([]byte(substitute(string(text), workflow)), &spec); err != nil {
		return nil, fmt.Errorf("spec after substitution: %w", err)
	}
	if strings.Contains(string(mustJSON(spec)), "{{") {
		return nil, fmt.Errorf("invalid spec: failed to resolve variables in %v", spec)
	}
	templates, _, _ := unstructured.NestedSlice(spec, "templates")
	if len(templates) != 1 {
		return nil, fmt.Errorf("the stand-in knows Workflows of one template, this has %d", len(templates))
	}
	main, _, err := unstructured.NestedMap(templates[0].(object), "container")
	if err != nil {
		return nil, err
	}
	var patch object
	if err := json.Unmarshal([]byte(spec["podSpecPatch"].(string)), &patch); err != nil {
		return nil, fmt.Errorf("invalid podSpecPatch: %w", err)
	}
	labels, _, _ := unstructured.NestedMap(spec, "podMetadata", "labels")
	return assemble(workflow, spec, main, patch, labels), nil
}

func assemble(workflow *unstructured.Unstructured, spec, main, patch, labels object) *unstructured.Unstructured {
	for _, c := range patch["containers"].([]any) {
		maps.Copy(main, c.(object))
	}
	wait := object{
		"name": "wait", "image": main["image"], "command": []any{"/app", "rest"}, "securityContext": main["securityContext"],
	}
	pod := object{"restartPolicy": "Never", "activeDeadlineSeconds": spec["activeDeadlineSeconds"]}
	maps.Copy(pod, patch)
	pod["containers"] = []any{wait, main}
	all := object{"workflows.argoproj.io/workflow": workflow.GetName(), "workflows.argoproj.io/completed": "false"}
	maps.Copy(all, labels)
	return &unstructured.Unstructured{Object: object{
		"apiVersion": "v1", "kind": "Pod", "spec": pod,
		"metadata": object{
			"name": workflow.GetName(), "namespace": workflow.GetNamespace(), "labels": all,
			"annotations": object{"workflows.argoproj.io/node-name": workflow.GetName()},
			"ownerReferences": []any{object{
				"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": workflow.GetName(), "uid": string(workflow.GetUID()),
				"controller": true, "blockOwnerDeletion": true,
			}},
		},
	}}
}

// substitute replaces a Workflow's parameters in the text of its spec, with a value
// quoted as Argo does it: twice, for Argo does so several times over.
func substitute(text string, workflow *unstructured.Unstructured) string {
	parameters, _, _ := unstructured.NestedSlice(workflow.Object, "spec", "arguments", "parameters")
	for range 2 {
		for _, p := range parameters {
			fields := p.(object)
			quoted := fmt.Sprintf("%q", fields["value"])
			text = strings.ReplaceAll(text, fmt.Sprintf("{{workflow.parameters.%s}}", fields["name"]), quoted[1:len(quoted)-1])
		}
	}
	return text
}

// messageOf says why a pod failed, as Argo's inferFailedReason does.
func messageOf(pod *unstructured.Unstructured) string {
	if message, _, _ := nested(pod.Object, "status", "message"); message != "" {
		return message
	}
	statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
	for _, s := range statuses {
		status := s.(object)
		ended, found, _ := unstructured.NestedMap(status, "state", "terminated")
		if found && status["name"] == "main" {
			return fmt.Sprintf("main: %v (exit code %v)", ended["reason"], ended["exitCode"])
		}
	}
	return "pod failed: neither main nor wait container completed successfully"
}

func mustJSON(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // it was read from JSON
	}
	return text
}

// pause waits for the next look; false says that there is to be none.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(glance):
		return true
	}
}
