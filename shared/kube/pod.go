package kube

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Where the container finds its files: part of the container contract.
const (
	// RunnerFolder is where the runner is, if a JobSpec's RunnerImage brings it.
	RunnerFolder = "/var/run/graf/bin"
	// ScratchFolder is for what the runner keeps on the way: images need have no /tmp. It is there with RunnerFolder.
	ScratchFolder = "/var/run/graf/scratch"

	taskFolder      = "/var/run/graf/task"
	promptKey       = "prompt.md"
	manifestsFolder = "/var/run/graf/manifests"
	workFolder      = "/workspace"
	tokenKey        = "callbackToken"
	// accountFolder is where Kubernetes' own clients look for a service account's token.
	accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// accountTokenSeconds is how long a token of the container's service account is good: the least that Kubernetes gives.
// The kubelet renews it as long as the pod runs.
const accountTokenSeconds = int64(600)

// containerUser is the "nonroot" user of distroless images. It is set because runAsNonRoot alone refuses every image
// that names no user.
const containerUser = int64(65532)

// object is one JSON object of a manifest.
type object = map[string]any

// pod is the specification of the one pod of an attempt, whatever kind of execution makes it.
func (s JobSpec) pod() object {
	pod := object{
		"restartPolicy":                 "Never",
		"automountServiceAccountToken":  false, // Mounted here instead, for a shorter time: see volumes.
		"enableServiceLinks":            false,
		"terminationGracePeriodSeconds": seconds(s.GracePeriod, DefaultGracePeriod),
		"securityContext": object{
			"runAsNonRoot": true, "runAsUser": containerUser, "runAsGroup": containerUser, "fsGroup": containerUser,
			"seccompProfile": object{"type": "RuntimeDefault"},
		},
		"containers": []any{s.container()},
		"volumes":    s.volumes(),
	}
	if s.ServiceAccount != "" {
		pod["serviceAccountName"] = s.ServiceAccount
	}
	if s.RunnerImage != "" {
		pod["initContainers"] = []any{s.runnerContainer()}
	}
	return pod
}

// noPrivileges is the security context of every container.
func noPrivileges() object {
	return object{"allowPrivilegeEscalation": false, "capabilities": object{"drop": []any{"ALL"}}}
}

// runnerContainer puts the runner where the container finds it, and ends. It is given nothing of the task.
func (s JobSpec) runnerContainer() object {
	little := object{"cpu": "10m", "memory": "32Mi"}
	return object{
		"name": "graf-runner", "image": s.RunnerImage, "command": []any{"graf-runner", "install", RunnerFolder},
		"volumeMounts":             []any{object{"name": "runner", "mountPath": RunnerFolder}},
		"securityContext":          noPrivileges(),
		"resources":                object{"requests": little, "limits": object{"memory": "64Mi"}},
		"terminationMessagePolicy": "FallbackToLogsOnError",
	}
}

func (s JobSpec) container() object {
	command := make([]any, len(s.Command))
	for i, argument := range s.Command {
		command[i] = literal(argument)
	}
	mounts := []any{
		object{"name": "task", "mountPath": taskFolder, "readOnly": true},
		object{"name": "manifests", "mountPath": manifestsFolder, "readOnly": true},
		object{"name": "work", "mountPath": workFolder},
	}
	if s.ServiceAccount != "" {
		mounts = append(mounts, object{"name": "account", "mountPath": accountFolder, "readOnly": true})
	}
	if s.RunnerImage != "" {
		mounts = append(mounts, object{"name": "runner", "mountPath": RunnerFolder, "readOnly": true},
			object{"name": "scratch", "mountPath": ScratchFolder})
	}
	return object{
		"name": s.kind().container, "image": s.Image, "command": command, "env": s.environment(), "workingDir": workFolder,
		"volumeMounts":             mounts,
		"securityContext":          noPrivileges(),
		"resources":                object{"requests": quantities(s.Requests), "limits": quantities(s.Limits)},
		"terminationMessagePolicy": "FallbackToLogsOnError",
	}
}

// volumes are the same three whether or not there are manifests, so that GRAF_MANIFESTS_DIR always names a folder; one
// for the runner, if it is brought; and the token of the service account, if there is one, bound to the pod.
func (s JobSpec) volumes() []any {
	manifests := object{"name": "manifests", "emptyDir": object{}}
	if len(s.Manifests) > 0 {
		manifests = object{"name": "manifests", "configMap": object{"name": s.Name()}}
	}
	volumes := []any{
		object{"name": "task", "secret": object{
			"secretName": s.Name(),
			// Only the prompt becomes a file; the token stays an environment variable of the one container.
			"items": []any{object{"key": promptKey, "path": promptKey}},
		}},
		manifests,
		object{"name": "work", "emptyDir": object{}},
	}
	if s.RunnerImage != "" {
		volumes = append(volumes, object{"name": "runner", "emptyDir": object{}}, object{"name": "scratch", "emptyDir": object{}})
	}
	if s.ServiceAccount == "" {
		return volumes
	}
	return append(volumes, object{"name": "account", "projected": object{"sources": []any{
		object{"serviceAccountToken": object{"path": "token", "expirationSeconds": accountTokenSeconds}},
		object{"configMap": object{"name": "kube-root-ca.crt", "items": []any{object{"key": "ca.crt", "path": "ca.crt"}}}},
		object{"downwardAPI": object{"items": []any{
			object{"path": "namespace", "fieldRef": object{"fieldPath": "metadata.namespace"}},
		}}},
	}}})
}

func (s JobSpec) environment() []any {
	environment := []any{
		variable("GRAF_TASK_ID", s.TaskID),
		variable("GRAF_CALLBACK_URL", s.CallbackURL),
		object{"name": "GRAF_CALLBACK_TOKEN", "valueFrom": object{
			"secretKeyRef": object{"name": s.Name(), "key": tokenKey},
		}},
		variable("GRAF_MEMORY_URL", s.MemoryURL),
		variable("GRAF_ACTIONS_URL", s.ActionsURL),
		variable("GRAF_PROMPT_FILE", taskFolder+"/"+promptKey),
		variable("GRAF_MANIFESTS_DIR", manifestsFolder),
		variable("GRAF_DEADLINE", s.Deadline.UTC().Format(time.RFC3339)),
		variable("TRACEPARENT", s.TraceParent),
	}
	if s.Budget.Tokens != nil {
		environment = append(environment, variable("GRAF_BUDGET_TOKENS", strconv.FormatInt(*s.Budget.Tokens, 10)))
	}
	if s.Budget.USD != nil {
		environment = append(environment, variable("GRAF_BUDGET_USD", strconv.FormatFloat(*s.Budget.USD, 'f', -1, 64)))
	}
	if s.ModelPrices != "" {
		environment = append(environment, variable("GRAF_MODEL_PRICES", s.ModelPrices))
	}
	_, set := s.Env["HOME"]
	if _, referenced := s.SecretEnv["HOME"]; !set && !referenced {
		environment = append(environment, variable("HOME", workFolder))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		environment = append(environment, variable(name, s.Env[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(s.SecretEnv)) {
		key := s.SecretEnv[name]
		environment = append(environment, object{"name": name, "valueFrom": object{
			"secretKeyRef": object{"name": key.Name, "key": key.Key, "optional": key.Optional},
		}})
	}
	return environment
}

func variable(name, value string) object { return object{"name": name, "value": literal(value)} }

// literal keeps Kubernetes from reading "$(NAME)" as a reference and "$$" as an escape, so that a shell command means
// the same here as where its author tried it.
func literal(text string) string { return strings.ReplaceAll(text, "$", "$$") }

func quantities(values map[string]string) object {
	list := object{}
	for name, quantity := range values {
		list[name] = quantity
	}
	return list
}

// dependents are the objects that the execution owns.
func (s JobSpec) dependents(owner Execution) []*unstructured.Unstructured {
	secret := s.owned(owner, "Secret")
	secret.Object["data"] = object{tokenKey: encode([]byte(s.CallbackToken)), promptKey: encode([]byte(s.Prompt))}
	if len(s.Manifests) == 0 {
		return []*unstructured.Unstructured{secret}
	}
	configMap := s.owned(owner, "ConfigMap")
	text, binary := object{}, object{}
	for name, data := range s.Manifests {
		if utf8.Valid(data) {
			text[name] = string(data)
		} else {
			binary[name] = encode(data)
		}
	}
	configMap.Object["data"], configMap.Object["binaryData"] = text, binary
	return []*unstructured.Unstructured{secret, configMap}
}

func (s JobSpec) owned(owner Execution, kind string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: object{
		"apiVersion": "v1",
		"kind":       kind,
		// An immutable object spares every kubelet a watch on it.
		"immutable": true,
		"metadata": object{
			"name": s.Name(), "namespace": s.Namespace, "labels": s.labels(),
			"ownerReferences": []any{object{
				"apiVersion": s.kind().apiVersion(), "kind": owner.Kind, "name": owner.Name, "uid": owner.UID,
				"controller": true, "blockOwnerDeletion": true,
			}},
		},
	}}
}

func encode(data []byte) string { return base64.StdEncoding.EncodeToString(data) }
