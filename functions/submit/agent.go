package submit

import (
	"maps"
	"slices"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/problem"
)

// agentSecret is the Secret whose keys agents are given without being asked.
const agentSecret = "graf-agent"

// variablesOf are the variables that the kinds of agents take their credentials
// from, and where to use them.
var variablesOf = map[api.AgentKind][]string{
	api.AgentKindCodex:  {"OPENAI_API_KEY", "OPENAI_BASE_URL"},
	api.AgentKindClaude: {"ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"},
}

// gitVariables are those of the credentials for a repository.
var gitVariables = []string{"GIT_USERNAME", "GIT_TOKEN"}

// agentWithDefaults fills in the kind, and the variables from the Secret graf-agent
// that the agent's kind and its repository want, unless they are set.
func agentWithDefaults(agent api.Agent) api.Agent {
	if agent.Kind == "" {
		agent.Kind = api.AgentKindCommand
	}
	wanted := variablesOf[agent.Kind]
	if agent.Repository.URL != "" {
		wanted = slices.Concat(wanted, gitVariables)
	}
	secretEnv := maps.Clone(agent.SecretEnv)
	for _, name := range wanted {
		_, set := agent.Env[name]
		_, referenced := agent.SecretEnv[name]
		if set || referenced {
			continue
		}
		if secretEnv == nil {
			secretEnv = map[string]api.SecretKey{}
		}
		secretEnv[name] = api.SecretKey{Name: agentSecret, Key: name, Optional: true}
	}
	agent.SecretEnv = secretEnv
	return agent
}

// secretsOf are the names of the Secrets of which an agent is given keys.
func secretsOf(agent api.Agent) []string {
	names := []string{}
	for _, key := range agent.SecretEnv {
		names = append(names, key.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// checkAgent refuses what the document's schema lets through and no cluster could
// start.
func checkAgent(agent api.Agent) error {
	var fields []problem.FieldError
	refuse := func(pointer, detail string) {
		fields = append(fields, problem.FieldError{Pointer: "/agent/" + pointer, Detail: detail})
	}
	isCommand := agent.Kind == "" || agent.Kind == api.AgentKindCommand
	switch {
	case isCommand && len(agent.Command) == 0:
		refuse("command", "must name the program to run")
	case isCommand && agent.Command[0] == "":
		refuse("command/0", "must name the program to run")
	case !isCommand && len(agent.Command) > 0:
		refuse("command", "is for kind command: give arguments to an agent of kind "+string(agent.Kind))
	}
	if isCommand && len(agent.Arguments) > 0 {
		refuse("arguments", "are for the other kinds: give those of kind command in command")
	}
	if isCommand && agent.Model != "" {
		refuse("model", "is for the other kinds: kind command knows no model")
	}
	checkVariables(agent, refuse)
	if len(fields) > 0 {
		return problem.ErrInvalid.Fields(fields...)
	}
	return nil
}

func checkVariables(agent api.Agent, refuse func(pointer, detail string)) {
	const reserved = "is reserved for what Graf tells the agent (GRAF_…, TRACEPARENT): choose another name"
	for _, name := range slices.Sorted(maps.Keys(agent.Env)) {
		if api.ReservedVariable(name) {
			refuse("env/"+name, reserved)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(agent.SecretEnv)) {
		if api.ReservedVariable(name) {
			refuse("secretEnv/"+name, reserved)
		}
		if _, set := agent.Env[name]; set {
			refuse("secretEnv/"+name, "is in env, too: give it once")
		}
	}
}
