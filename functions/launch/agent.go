package launch

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/postgres/query"
)

// runnerProgram is the entry point of every execution: see docs/runner.md.
const runnerProgram = "graf-runner"

// afterStop is what the runner needs besides to end all that the agent started, and
// to look at its folder.
const afterStop = 10 * time.Second

// lastReports is what the runner has for artifacts, and again for reports, when it is
// told to end and the agent has ended.
const lastReports = 10 * time.Second

// agentOf reads a task's agent as it was submitted.
func agentOf(task query.Task) (api.Agent, error) {
	var agent api.Agent
	if err := json.Unmarshal(task.Agent, &agent); err != nil {
		return api.Agent{}, fmt.Errorf("%w: the agent: %w", errUnreadable, err)
	}
	return agent, nil
}

// image is the one that an agent runs in.
func (c ExecutionConfig) image(agent api.Agent) string {
	return cmp.Or(agent.Image, c.Images[string(agent.Kind)], c.Image)
}

// runner is the path of the runner in the agent's container, and the image that
// brings it there, "" where it is already.
func (c ExecutionConfig) runner() (program, image string) {
	if c.RunnerPath != "" {
		return c.RunnerPath, ""
	}
	return path.Join(kube.RunnerFolder, runnerProgram), c.RunnerImage
}

// command starts the runner, which starts the agent. A language model's gets the
// submitted manifests, if there are any, where it can change them.
func (c ExecutionConfig) command(agent api.Agent, manifests bool) []string {
	program, image := c.runner()
	command := []string{program}
	flag := func(name, value string) {
		if value != "" {
			command = append(command, "--"+name+"="+value)
		}
	}
	own := agent.Command
	if agent.Kind != "" && agent.Kind != api.AgentKindCommand {
		own = agent.Arguments
		flag("agent", string(agent.Kind))
		flag("model", agent.Model)
		command = append(command, "--mcp")
		if manifests && agent.Repository.URL == "" { // Who has a repository changes the files in that.
			flag("manifests", "manifests")
		}
	}
	if agent.Repository.URL != "" {
		flag("folder", "repository") // Beside what the agent keeps in its home.
	}
	flag("grace", c.GracePeriod.String())
	flag("flush", lastReports.String())
	if image != "" {
		flag("spool", kube.ScratchFolder)
	}
	for _, pattern := range agent.Artifacts {
		flag("artifacts", pattern)
	}
	for _, name := range secretVariables(agent) {
		flag("secret", name)
	}
	command = append(command, repositoryFlags(agent.Repository)...)
	return append(append(command, "--"), own...)
}

// noSecrets are variables that come from Secrets only because they go with one that is: were a user's name or a host
// hidden, so would be each image, path and link that has it.
var noSecrets = []string{"GIT_USERNAME", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"}

// secretVariables are the variables whose values the runner hides, whatever their names.
func secretVariables(agent api.Agent) []string {
	var names []string
	for name := range agent.SecretEnv {
		if !slices.Contains(noSecrets, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func repositoryFlags(r api.Repository) []string {
	var flags []string
	for _, f := range []struct{ name, value string }{
		{"repository", r.URL}, {"revision", r.Revision}, {"branch", r.Branch}, {"forge", string(r.Forge)}, {"forge-url", r.ForgeURL},
	} {
		if f.value != "" {
			flags = append(flags, "--"+f.name+"="+f.value)
		}
	}
	if r.Push {
		flags = append(flags, "--push")
	}
	if r.PullRequest {
		flags = append(flags, "--pull-request")
	}
	return flags
}

// secretEnv is an agent's, as the execution has it.
func secretEnv(agent api.Agent) map[string]kube.SecretKey {
	variables := make(map[string]kube.SecretKey, len(agent.SecretEnv))
	for name, key := range agent.SecretEnv {
		variables[name] = kube.SecretKey{Name: key.Name, Key: key.Key, Optional: key.Optional}
	}
	return variables
}
