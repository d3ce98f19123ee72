package launch

import (
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/graf-run/graf/shared/embedding"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/limiter"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/redisdb"
	"github.com/graf-run/graf/shared/retry"
	"github.com/graf-run/graf/shared/sink"
)

// Config is the function's environment.
type Config struct {
	Postgres   postgres.Config
	Redis      redisdb.Config
	Sink       sink.Config
	Kubernetes kube.Config
	Slots      limiter.SlotsConfig
	Embedding  embedding.Config
	Execution  ExecutionConfig
	Recall     RecallConfig
	// RetryBase is the wait after a launch that failed for want of the cluster;
	// it doubles with each further one up to RetryMax.
	RetryBase time.Duration `env:"GRAF_LAUNCH_RETRY_BASE" envDefault:"2s"`
	RetryMax  time.Duration `env:"GRAF_LAUNCH_RETRY_MAX" envDefault:"2m"`
	// RetryAttempts is after how many failed launches a task fails.
	RetryAttempts int `env:"GRAF_LAUNCH_RETRY_ATTEMPTS" envDefault:"20"`
}

// ExecutionConfig says where and how containers run.
type ExecutionConfig struct {
	// Namespace is where Jobs and Workflows are made.
	Namespace string `env:"GRAF_EXECUTION_NAMESPACE" envDefault:"graf"`
	// Image runs agents that name none.
	Image string `env:"GRAF_AGENT_IMAGE" envDefault:"dev.local/graf-agent:latest"`
	// Images run agents of some kinds that name none, as kind=image.
	Images map[string]string `env:"GRAF_AGENT_IMAGES" envKeyValSeparator:"="`
	// RunnerImage brings the runner into the agents' containers.
	RunnerImage string `env:"GRAF_RUNNER_IMAGE" envDefault:"dev.local/graf-runner:latest"`
	// RunnerPath is where the runner is in all of them; empty: RunnerImage brings it.
	RunnerPath string `env:"GRAF_RUNNER_PATH"`
	// ModelPrices are what models cost, for budgets in dollars.
	ModelPrices ModelPrices `env:"GRAF_MODEL_PRICES"`
	// ServiceAccount is the containers' identity; empty: the namespace's
	// default one without its token.
	ServiceAccount string `env:"GRAF_EXECUTION_SERVICE_ACCOUNT"`
	// GracePeriod is between SIGTERM and SIGKILL.
	GracePeriod time.Duration `env:"GRAF_EXECUTION_GRACE_PERIOD" envDefault:"10s"`
	// TTL is how long a finished Job or Workflow is kept.
	TTL time.Duration `env:"GRAF_EXECUTION_TTL" envDefault:"1h"`
	// ArgoWorkflowTemplate is the WorkflowTemplate, in Namespace, that tasks of
	// orchestrationMode argo are made from; empty: Graf's own.
	ArgoWorkflowTemplate string `env:"GRAF_ARGO_WORKFLOW_TEMPLATE"`
	// CallbackBaseURL and MemoryBaseURL are where containers reach the callback
	// and memory functions, without a path.
	CallbackBaseURL string `env:"GRAF_CALLBACK_BASE_URL,required,notEmpty"`
	MemoryBaseURL   string `env:"GRAF_MEMORY_BASE_URL,required,notEmpty"`
}

// ModelPrices is the text of a price list, as docs/runner.md describes it.
type ModelPrices struct{ text string }

// UnmarshalText keeps a text that is a list.
func (p *ModelPrices) UnmarshalText(text []byte) error {
	var list map[string]struct {
		Input       float64 `json:"input"`
		CachedInput float64 `json:"cachedInput"`
		Output      float64 `json:"output"`
	}
	err := yaml.UnmarshalStrict(text, &list)
	for model, price := range list {
		if min(price.Input, price.CachedInput, price.Output) < 0 {
			err = fmt.Errorf("that of %s is below 0", model)
		}
	}
	if err != nil {
		return fmt.Errorf("give a price list such as {\"gpt-5*\": {input: 1.25, cachedInput: 0.125, output: 10}}: %w", err)
	}
	p.text = string(text)
	return nil
}

// workflowTemplate is the template of a task's execution, which only a Workflow has.
func (c ExecutionConfig) workflowTemplate(task query.Task) string {
	if kube.KindFor(task.OrchestrationMode) != kube.KindWorkflow {
		return ""
	}
	return c.ArgoWorkflowTemplate
}

// RecallConfig says what of earlier tasks a prompt is given.
type RecallConfig struct {
	// Enabled turns recall on; it is the flag of the memory function.
	Enabled bool `env:"GRAF_CODEX_MEMORY_ENABLED" envDefault:"true"`
	// Limit is the most memories in a prompt.
	Limit int `env:"GRAF_RECALL_LIMIT" envDefault:"5"`
	// Bytes bounds their text in all.
	Bytes int `env:"GRAF_RECALL_BYTES" envDefault:"12288"`
	// Wait is how long a launch waits for the vector of its prompt before it
	// goes on with full-text search alone.
	Wait time.Duration `env:"GRAF_RECALL_WAIT" envDefault:"2s"`
}

// Validate tells what is wrong, or nil.
func (c Config) Validate() error {
	switch {
	case c.Recall.Limit < 0 || c.Recall.Limit > 50:
		return errors.New("GRAF_RECALL_LIMIT: give 0 to 50")
	case c.Recall.Bytes < 0 || c.Recall.Bytes > 256<<10:
		return errors.New("GRAF_RECALL_BYTES: give 0 to 262144")
	case c.Recall.Wait < 0 || c.Recall.Wait > 20*time.Second:
		return errors.New("GRAF_RECALL_WAIT: give 0s to 20s")
	}
	return errors.Join(c.Slots.Validate(), c.retry().Validate())
}

func (c Config) retry() retry.Config {
	r := retry.DefaultConfig()
	r.Base, r.Max, r.MaxAttempts = c.RetryBase, c.RetryMax, c.RetryAttempts
	return r
}
