package kube

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Labels of every object that belongs to an attempt: one selector finds them all.
const (
	LabelTaskID    = "graf.dev/task-id"
	LabelAttempt   = "graf.dev/attempt"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "graf"
)

// Defaults of the durations that a JobSpec leaves at zero.
const (
	DefaultGracePeriod = 30 * time.Second
	DefaultTTL         = time.Hour
)

// maxManifestBytes is Kubernetes' own limit for the data of one ConfigMap or Secret.
const maxManifestBytes = 1 << 20

// JobSpec is all that one attempt needs.
type JobSpec struct {
	// Kind is what runs the attempt: KindJob, which is meant if it is empty, or KindWorkflow.
	Kind string
	// WorkflowTemplate is the name of the WorkflowTemplate, in the same namespace, that a Workflow is made from; empty
	// means Graf's own. See docs/argo.md for the parameters that it is given.
	WorkflowTemplate string

	TaskID    string
	Attempt   int // from 1
	Namespace string

	Image string
	// Command runs as it stands: Kubernetes' own $(NAME) references are not expanded in it, nor in Env.
	Command []string
	// RunnerImage is an image whose program graf-runner is put into RunnerFolder before the container starts; empty
	// means that Command needs none.
	RunnerImage string
	// Env is added to the container contract's variables. It cannot set GRAF_… or TRACEPARENT.
	Env map[string]string
	// SecretEnv are variables whose values are keys of Secrets in Namespace, likewise.
	SecretEnv map[string]SecretKey

	Prompt        string
	CallbackToken string
	CallbackURL   string
	MemoryURL     string
	ActionsURL    string
	// Manifests are files by name, at most 1 MiB in all.
	Manifests   map[string][]byte
	TraceParent string
	// Budget is told to the container, which keeps to it.
	Budget Budget

	// ModelPrices is GRAF_MODEL_PRICES, what models cost; empty is unknown.
	ModelPrices string

	// Timeout is how long the execution may be active, rounded up to whole seconds.
	Timeout time.Duration
	// Deadline is the moment the container is told in GRAF_DEADLINE; the cluster itself enforces Timeout.
	Deadline time.Time
	// GracePeriod is the time between SIGTERM and SIGKILL; zero means DefaultGracePeriod.
	GracePeriod time.Duration
	// TTL is how long the finished execution is kept; zero means DefaultTTL.
	TTL time.Duration

	// ServiceAccount is the identity of the container, whose token it is given for 10 minutes at a time; empty means the
	// namespace's default one without its token.
	ServiceAccount string
	// Requests and Limits are Kubernetes quantities by resource name, for example {"cpu": "500m"}.
	Requests map[string]string
	Limits   map[string]string
}

// SecretKey is a key of a Secret.
type SecretKey struct {
	Name, Key string
	// Optional has the variable left out if there is no such key; otherwise the container waits for it.
	Optional bool
}

// Budget is what an attempt may use; nil is as much as it likes.
type Budget struct {
	// Tokens are GRAF_BUDGET_TOKENS.
	Tokens *int64
	// USD is GRAF_BUDGET_USD, in US dollars.
	USD *float64
}

// Name returns the name that the attempt's Job or Workflow, Secret and ConfigMap share.
func (s JobSpec) Name() string { return JobName(s.TaskID, s.Attempt) }

// JobName returns the name of an attempt's Job or Workflow, which anyone can tell who knows the attempt.
func JobName(taskID string, attempt int) string {
	return "codex-" + taskID + "-" + strconv.Itoa(attempt)
}

func (s JobSpec) labels() map[string]any {
	return map[string]any{
		LabelTaskID:    s.TaskID,
		LabelAttempt:   strconv.Itoa(s.Attempt),
		LabelManagedBy: ManagedBy,
	}
}

// Validate reports the first field that the cluster would refuse, wrapped in ErrInvalid.
func (s JobSpec) Validate() error {
	for _, check := range []func(JobSpec) string{
		identityProblem, kindProblem, commandProblem, environmentProblem, manifestsProblem, durationProblem, resourceProblem,
	} {
		if problem := check(s); problem != "" {
			return fmt.Errorf("%w: %s", ErrInvalid, problem)
		}
	}
	return nil
}

func identityProblem(s JobSpec) string {
	if s.Attempt < 1 {
		return fmt.Sprintf("attempt is %d; attempts count from 1", s.Attempt)
	}
	if problems := validation.IsDNS1123Label(s.Name()); len(problems) > 0 {
		return fmt.Sprintf("task id %q gives the Job name %q: %s", s.TaskID, s.Name(), problems[0])
	}
	if problems := validation.IsDNS1123Label(s.Namespace); len(problems) > 0 {
		return fmt.Sprintf("namespace %q: %s", s.Namespace, problems[0])
	}
	return ""
}

func kindProblem(s JobSpec) string {
	switch {
	case s.Kind != "" && s.Kind != KindJob && s.Kind != KindWorkflow:
		return fmt.Sprintf("kind is %q; give %s or %s", s.Kind, KindJob, KindWorkflow)
	case s.Kind != KindWorkflow && s.WorkflowTemplate != "":
		return fmt.Sprintf("workflow template %q is for a %s, not for a %s", s.WorkflowTemplate, KindWorkflow, KindJob)
	case s.Kind == KindWorkflow && strings.Contains(s.Image, "{{"):
		return fmt.Sprintf("image %q has {{, which Argo would replace", s.Image)
	case s.WorkflowTemplate == "":
		return ""
	}
	if problems := validation.IsDNS1123Subdomain(s.WorkflowTemplate); len(problems) > 0 {
		return fmt.Sprintf("workflow template %q: %s", s.WorkflowTemplate, problems[0])
	}
	return ""
}

func commandProblem(s JobSpec) string {
	if s.Image == "" {
		return "image is empty"
	}
	if len(s.Command) == 0 || s.Command[0] == "" {
		return "command is empty; its first element is the program to run"
	}
	if s.CallbackToken == "" {
		return "callback token is empty"
	}
	return ""
}

func environmentProblem(s JobSpec) string {
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(s.Env)), slices.Sorted(maps.Keys(s.SecretEnv))) {
		if problems := validation.IsEnvVarName(name); len(problems) > 0 {
			return fmt.Sprintf("env name %q: %s", name, problems[0])
		}
		if strings.HasPrefix(name, "GRAF_") || name == "TRACEPARENT" {
			return fmt.Sprintf("env name %q is reserved for the container contract; choose another", name)
		}
	}
	return ""
}

func manifestsProblem(s JobSpec) string {
	total := 0
	for name, data := range s.Manifests {
		if problems := validation.IsConfigMapKey(name); len(problems) > 0 {
			return fmt.Sprintf("manifest file name %q: %s", name, problems[0])
		}
		total += len(data)
	}
	if total > maxManifestBytes {
		return fmt.Sprintf("manifests are %d bytes in all; at most %d fit in a ConfigMap", total, maxManifestBytes)
	}
	if len(s.Prompt)+len(s.CallbackToken) > maxManifestBytes {
		return fmt.Sprintf("prompt is %d bytes; at most %d fit in a Secret", len(s.Prompt), maxManifestBytes)
	}
	return ""
}

func durationProblem(s JobSpec) string {
	if s.Timeout <= 0 {
		return "timeout must be longer than zero"
	}
	if s.GracePeriod < 0 || s.TTL < 0 {
		return "grace period and time to live cannot be negative"
	}
	return ""
}

func resourceProblem(s JobSpec) string {
	for _, list := range []map[string]string{s.Requests, s.Limits} {
		for name, quantity := range list {
			if _, err := resource.ParseQuantity(quantity); err != nil {
				return fmt.Sprintf("resource %s: %q is no Kubernetes quantity, for example 500m or 256Mi", name, quantity)
			}
		}
	}
	return ""
}

// seconds rounds up, so that a fraction never becomes "no limit".
func seconds(d, fallback time.Duration) int64 {
	if d == 0 {
		d = fallback
	}
	return int64((d + time.Second - 1) / time.Second)
}
