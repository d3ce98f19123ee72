package demo

import (
	"crypto/rand"

	"github.com/graf-run/graf/shared/api"
)

// job is one task of the demo and what must come of it.
type job struct {
	title      string
	prompt     string
	deployment string
	agent      api.Agent
	attempts   int // that it may have
	expectation
}

// Names of the Deployments, all in Knative's eventing component.
const (
	filter  = "mt-broker-filter"
	ingress = "mt-broker-ingress"
	webhook = "eventing-webhook"
)

func (c Config) jobs() []job {
	if c.Agent != "" && c.Agent != string(api.AgentKindCommand) {
		return modelJobs(api.Agent{Kind: api.AgentKind(c.Agent), Model: c.Model, Artifacts: []string{"manifests/*.yaml"}})
	}
	return []job{
		{
			title:      "a task teaches",
			deployment: filter,
			prompt: "The broker filter was OOM-killed twice this week and took its node's other pods with it: " +
				"give its container a memory limit.",
			agent: agent(filter, memoryLimit("filter")+"=512Mi",
				"--reason", "Without a limit one pod can take the memory of its whole node.",
				"--lesson", "A pod of the broker's data plane requests 100Mi but holds events in memory: "+
					"resources.limits.memory=512Mi, five times the request, leaves room for a burst and keeps the harm to one pod."),
			attempts:    1,
			expectation: expectation{limit: "512Mi", attempts: 1},
		},
		{
			title:      "another one, about another resource and in other words, is given what the first taught",
			deployment: ingress,
			prompt: "Nothing stops the ingress pods from eating all the RAM of a node. " +
				"Cap what one of them may use before a traffic spike evicts its neighbours.",
			agent: agent(ingress, memoryLimit("ingress"), "--value-from-memory",
				"--reason", "The ingress holds events in memory as the filter does.",
				"--lesson", "What was learned of the broker filter's memory serves for the ingress too."),
			attempts:    1,
			expectation: expectation{limit: "512Mi", attempts: 1, taught: true, followed: true},
		},
		{
			title:      "one fails, is told why, and succeeds on its second attempt",
			deployment: webhook,
			prompt: "The eventing webhook may use 200Mi but has never been seen above 24 MB. " +
				"Cut its memory ceiling to 32Mi so that more fits on a node.",
			agent: agent(webhook, memoryLimit("eventing-webhook")+"=32Mi", "--heed-failure",
				"--reason", "The webhook uses far less memory than it is allowed.",
				"--lesson", "A limit cannot go below the request: lower the request first to save more."),
			attempts: 2,
			expectation: expectation{
				limit: "50Mi", attempts: 2, failure: "limits.memory 32Mi is below requests.memory 50Mi",
			},
		},
	}
}

// hint tells an agent with a language model what the example agent knows.
const hint = " Change the Deployment's file as little as it takes. " +
	"Then record, with the tool record_lesson, what a later task about another resource should know."

// modelJobs are for agents that understand their prompts.
func modelJobs(agent api.Agent) []job {
	return []job{
		{
			title:      "a task teaches",
			deployment: filter,
			prompt: "The broker filter was OOM-killed twice this week and took its node's other pods with it: " +
				"give its container a memory limit of 512Mi." + hint,
			agent: agent, attempts: 1,
			expectation: expectation{limit: "512Mi", attempts: 1},
		},
		{
			title:      "another one, about another resource and in other words, is given what the first taught",
			deployment: ingress,
			prompt: "Nothing stops the ingress pods from eating all the RAM of a node. " +
				"Cap what one of them may use, at what earlier tasks found right for the broker's data plane." + hint,
			agent: agent, attempts: 1,
			expectation: expectation{limit: "512Mi", attempts: 1, taught: true},
		},
	}
}

// agent is the command line of the example agent, which Graf runs.
func agent(deployment, set string, more ...string) api.Agent {
	return api.Agent{Kind: api.AgentKindCommand, Command: append(
		[]string{"manifest-agent", "--kind", "Deployment", "--name", deployment, "--set", set}, more...)}
}

func memoryLimit(container string) string {
	return "spec.template.spec.containers[name=" + container + "].resources.limits.memory"
}

func (j job) submission(d Deployment) api.TaskSubmission {
	timeout := int(taskTimeout.Seconds()) - 30
	return api.TaskSubmission{
		Prompt: j.prompt, TargetResources: []api.ResourceReference{d.reference()}, Manifests: []api.Manifest{d.json},
		Agent:          j.agent,
		TimeoutSeconds: &timeout, MaxAttempts: &j.attempts, Tags: []string{"demo", "memory-limit"},
		IdempotencyKey: "demo-" + rand.Text(),
	}
}
