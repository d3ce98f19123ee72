package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ArgoExecutor is the service account that Argo's own container in an attempt's pod uses to tell how the step went. Its
// rights are not the agent's, whose container sees no token of it: deploy/components/argo makes it.
const ArgoExecutor = "graf-argo-executor"

// The parameters of a Workflow are the container contract for a WorkflowTemplate: docs/argo.md. Tokens and prompts are
// not among them, as everybody who may read Workflows can read parameters; they are in the Secret.
const (
	parameterTaskID         = "graf-task-id"
	parameterAttempt        = "graf-attempt"
	parameterImage          = "graf-image"
	parameterCallbackURL    = "graf-callback-url"
	parameterMemoryURL      = "graf-memory-url"
	parameterSecret         = "graf-secret"
	parameterConfigMap      = "graf-config-map"
	parameterDeadline       = "graf-deadline"
	parameterTimeout        = "graf-timeout-seconds"
	parameterServiceAccount = "graf-service-account"
	parameterTraceParent    = "graf-trace-parent"
	// parameterPod is a podSpecPatch that makes the pod of a template what an attempt's pod is.
	parameterPod = "graf-pod"
)

// agentTemplate is the name of the built-in template.
const agentTemplate = "agent"

// reasonDeadline is the Reason of an execution that ran past its deadline, in the words of Jobs.
const reasonDeadline = "DeadlineExceeded"

// workflow gives the attempt to a WorkflowTemplate, or to the built-in template. With a WorkflowTemplate it sets only
// fields that Argo lets a Workflow set where the cluster's administrator restricts it to templates
// (workflowRestrictions.templateReferencing).
func (s JobSpec) workflow() *unstructured.Unstructured {
	spec := object{
		"arguments":             object{"parameters": s.parameters()},
		"activeDeadlineSeconds": seconds(s.Timeout, 0),
		"ttlStrategy":           object{"secondsAfterCompletion": seconds(s.TTL, DefaultTTL)},
		// A log may hold what Graf keeps out of its own stores.
		"archiveLogs": false,
	}
	if s.WorkflowTemplate != "" {
		spec["workflowTemplateRef"] = object{"name": s.WorkflowTemplate}
	} else {
		s.builtIn(spec)
	}
	return &unstructured.Unstructured{Object: object{
		"apiVersion": workflowKind.apiVersion(),
		"kind":       KindWorkflow,
		"metadata":   object{"name": s.Name(), "namespace": s.Namespace, "labels": s.labels()},
		"spec":       spec,
	}}
}

// builtIn adds a template of one container without a retryStrategy: Graf decides about another attempt. All but its
// image comes by the patch, as for a template of a user's.
func (s JobSpec) builtIn(spec object) {
	spec["entrypoint"] = agentTemplate
	spec["podMetadata"] = object{"labels": s.labels()}
	spec["executor"] = object{"serviceAccountName": ArgoExecutor}
	spec["podSpecPatch"] = "{{workflow.parameters." + parameterPod + "}}"
	spec["templates"] = []any{object{
		"name":      agentTemplate,
		"container": object{"name": workflowKind.container, "image": s.Image},
	}}
}

func (s JobSpec) parameters() []any {
	configMap := ""
	if len(s.Manifests) > 0 {
		configMap = s.Name()
	}
	var parameters []any
	for _, p := range []struct{ name, value string }{
		{parameterTaskID, s.TaskID},
		{parameterAttempt, strconv.Itoa(s.Attempt)},
		{parameterImage, s.Image},
		{parameterCallbackURL, s.CallbackURL},
		{parameterMemoryURL, s.MemoryURL},
		{parameterSecret, s.Name()},
		{parameterConfigMap, configMap},
		{parameterDeadline, s.Deadline.UTC().Format(time.RFC3339)},
		{parameterTimeout, strconv.FormatInt(seconds(s.Timeout, 0), 10)},
		{parameterServiceAccount, s.ServiceAccount},
		{parameterTraceParent, s.TraceParent},
		{parameterPod, s.podPatch()},
	} {
		parameters = append(parameters, object{"name": p.name, "value": p.value})
	}
	return parameters
}

// podPatch is the attempt's pod as a strategic merge patch for the one that Argo makes, which never restarts either.
func (s JobSpec) podPatch() string {
	pod := s.pod()
	delete(pod, "restartPolicy")
	encoded, err := json.Marshal(pod)
	if err != nil {
		panic(err) // it consists of strings, numbers and booleans
	}
	return plain(string(encoded))
}

// plain writes JSON so that Argo hands it on as it is. Argo replaces what stands between {{ and }}, several times over,
// and quotes a parameter's value as Go does, which for some characters beyond ASCII is no JSON. JSON's own escapes, for
// which the backslash is all that needs care, keep clear of both. Two braces can only meet within a string.
func plain(encoded string) string {
	var text strings.Builder
	previous := rune(0)
	for _, r := range encoded {
		switch {
		case r == '{' && previous == '{', r >= 0x7f && r <= 0xffff:
			fmt.Fprintf(&text, `\u%04x`, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&text, `\u%04x\u%04x`, high, low)
		default:
			text.WriteRune(r)
		}
		previous = r
	}
	return text.String()
}

// deadlineMessages are what Argo says of a step, or of the whole Workflow if it has one step, that ran past a deadline:
// the first is the kubelet's.
var deadlineMessages = []string{
	"Pod was active on the node longer than the specified deadline",
	"Step exceeded its deadline",
	"Max duration limit exceeded",
}

// ParseWorkflow reads an observation from an Argo Workflow. What is not one of Graf's Workflows is ErrInvalid.
func ParseWorkflow(workflow *unstructured.Unstructured) (Observation, error) {
	observation, err := observe(workflow, workflowKind)
	if err != nil {
		return Observation{}, err
	}
	status, _, _ := unstructured.NestedMap(workflow.Object, "status")
	observation.StartedAt = timeAt(status, "startedAt")
	phase, _ := status["phase"].(string)
	if c, ok := condition(workflow, "PodRunning"); ok {
		observation.Running = c.status == "True"
	}
	switch phase {
	case "Succeeded":
		observation.Phase = PhaseSucceeded
	case "Failed", "Error":
		observation.Phase, observation.Reason = PhaseFailed, phase
		observation.Message, _ = status["message"].(string)
		if pastDeadline(status) {
			observation.Phase, observation.Reason = PhaseDeadlineExceeded, reasonDeadline
		}
	default: // Pending, Running, or not yet seen by Argo's controller.
		return observation, nil
	}
	observation.FinishedAt = timeAt(status, "finishedAt")
	return observation, nil
}

// pastDeadline looks at the Workflow's message, and at those of its steps: of several steps the Workflow only says that
// one has failed. The comparison is of whole messages, so that no agent's output is taken for one.
func pastDeadline(status object) bool {
	if message, _ := status["message"].(string); slices.Contains(deadlineMessages, message) {
		return true
	}
	nodes, _, _ := unstructured.NestedMap(status, "nodes")
	for _, node := range nodes {
		fields, _ := node.(object)
		message, _ := fields["message"].(string)
		if fields["phase"] == "Failed" && slices.Contains(deadlineMessages, message) {
			return true
		}
	}
	return false
}

// explain adds to the error of creating an execution what is missing where that is Argo, or Graf's rights to it.
func (k executionKind) explain(err error) error {
	var status apierrors.APIStatus
	if k.name != KindWorkflow || !errors.As(err, &status) {
		return err
	}
	details := status.Status().Details
	switch {
	case apierrors.IsNotFound(err) && (details == nil || details.Kind != "namespaces"):
		return fmt.Errorf("the cluster has no Argo Workflows (%s): install Argo (docs/argo.md), "+
			"or submit the task with orchestrationMode direct: %w", k.apiVersion(), err)
	case errors.Is(kindOf(err), ErrForbidden):
		return fmt.Errorf("no right to Workflows here: deploy Graf with components/argo (docs/argo.md): %w", err)
	}
	return err
}
