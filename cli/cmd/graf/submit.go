package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	documents "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	graf "github.com/graf-run/graf/sdk/go"
)

// submitFlags are those of graf submit.
type submitFlags struct {
	file, namespace, selector string
	targets, manifests        []string
	kind, model, image, mode  string
	key, project              string
	tags, env, secretEnv      []string
	artifacts                 []string
	repository                graf.Repository
	priority, attempts        int
	timeout                   time.Duration
	tokens                    int64
	usd                       float64
	apply, watch              bool
}

func (a *app) submitCommand() *cobra.Command {
	var f submitFlags
	command := &cobra.Command{
		Use:   "submit [PROMPT] [-- AGENT [ARGUMENT…]]",
		Short: "Submit a task",
		Long: `Submit a task: what an agent is to do, in words, and the resources that it is about.

The prompt is the argument, a file (--file), or standard input. What stands behind --
is the agent's program, or what codex and claude are given besides; without it, the
one that graf login was told.`,
		Example: `  graf submit 'Give the web pods a memory limit.' --target deploy/web -n prod --watch -- my-agent
  graf submit 'Fix the flaky test.' --agent codex --repository https://git.example/shop.git --pull-request
  graf submit --file prompt.md --manifest web.yaml --tag web
  kubectl get events -n prod | graf submit --target deploy/web -n prod`,
		Args: func(cmd *cobra.Command, given []string) error {
			if beforeDash(cmd, given) > 1 {
				return usage("graf submit takes one prompt: put it into quotes, and the agent behind --\nsee graf submit --help")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			before := beforeDash(cmd, given)
			return a.submit(cmd, f, given[:before], given[before:])
		},
	}
	flags := command.Flags()
	flags.StringVarP(&f.file, "file", "f", "", "file with the prompt; - is standard input")
	flags.StringArrayVarP(&f.targets, "target", "t", nil, "resource that the task is about, such as deploy/web; may be repeated")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace of the targets")
	flags.StringVarP(&f.selector, "selector", "l", "", "label selector, for targets without a name")
	flags.StringArrayVarP(&f.manifests, "manifest", "m", nil, "file of resources as they are before the run, YAML or JSON; may be repeated")
	flags.BoolVar(&f.apply, "apply", false, "apply the manifests before the agent starts")
	flags.StringVar(&f.kind, "agent", "", "kind of agent: command, codex or claude (default command)")
	flags.StringVar(&f.model, "model", "", "language model of codex or claude")
	flags.StringVar(&f.image, "image", "", "container image of the agent")
	flags.StringArrayVarP(&f.env, "env", "e", nil, "environment variable of the agent, NAME=VALUE, or NAME to take it from here; may be repeated")
	flags.StringArrayVar(&f.secretEnv, "secret-env", nil, "environment variable from a Secret, NAME=SECRET/KEY; may be repeated")
	flags.StringArrayVar(&f.artifacts, "artifact", nil, "pattern of files to keep, such as 'report/**/*.md'; may be repeated")
	f.repositoryFlags(flags)
	flags.StringVar(&f.mode, "mode", "", "what runs it: direct, argo or temporal")
	flags.StringVar(&f.project, "project", "", "project that the task belongs to")
	flags.StringArrayVar(&f.tags, "tag", nil, "tag; may be repeated")
	flags.IntVar(&f.priority, "priority", 5, "0 to 9, 9 goes first")
	flags.IntVar(&f.attempts, "max-attempts", 1, "how often it is tried, 1 to 5")
	flags.DurationVar(&f.timeout, "timeout", 0, "how long one attempt may run (default 30m)")
	flags.Int64Var(&f.tokens, "budget-tokens", 0, "the most tokens that all attempts together may use")
	flags.Float64Var(&f.usd, "budget-usd", 0, "the most US dollars, likewise")
	flags.StringVar(&f.key, "idempotency-key", "", "the same key and task again is the same task")
	flags.BoolVarP(&f.watch, "watch", "w", false, "watch the task to its end")
	return command
}

func (f *submitFlags) repositoryFlags(flags *pflag.FlagSet) {
	flags.StringVar(&f.repository.URL, "repository", "", "git repository that is cloned for the agent")
	flags.StringVar(&f.repository.Revision, "revision", "", "its branch, tag or commit (default its default branch)")
	flags.StringVar(&f.repository.Branch, "branch", "", "branch to push (default graf/TASKID)")
	flags.BoolVar(&f.repository.Push, "push", false, "push what the agent did")
	flags.BoolVar(&f.repository.PullRequest, "pull-request", false, "push it, and open a pull request")
}

func (a *app) submit(cmd *cobra.Command, f submitFlags, prompt, agent []string) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	submission, err := a.submission(cmd, f, agent)
	if err != nil {
		return err
	}
	if submission.Prompt, err = a.prompt(cmd.Context(), f.file, prompt); err != nil {
		return err
	}
	created, err := client.Submit(cmd.Context(), submission)
	if err != nil {
		return err
	}
	if f.watch {
		return a.watch(cmd.Context(), client, created.TaskID)
	}
	created.Callback.Token = "" // it is the agent's, and terminals have a memory
	return a.show(created, func() error {
		_, _ = fmt.Fprintf(a.err, "watch it: graf watch %s\n", created.TaskID)
		return a.line("%s", created.TaskID)
	})
}

// prompt is the argument, the file's text or that of standard input.
func (a *app) prompt(ctx context.Context, file string, given []string) (string, error) {
	switch {
	case len(given) == 1 && file != "":
		return "", usage("the prompt is given twice: as an argument and by --file")
	case len(given) == 1 && given[0] != "-":
		return given[0], nil
	case file != "" && file != "-":
		text, err := os.ReadFile(file)
		if err != nil {
			return "", usage("read the prompt: %w", err)
		}
		return string(text), nil
	}
	if a.in == os.Stdin && isTerminal(os.Stdin) {
		return "", usage("there is no prompt\nrun: graf submit 'what is to be done', or --file FILE")
	}
	text, err := await(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.in, 1<<20)) })
	if err != nil {
		return "", fmt.Errorf("read the prompt: %w", err)
	}
	if strings.TrimSpace(string(text)) == "" {
		return "", usage("the prompt on standard input is empty")
	}
	return string(text), nil
}

func (a *app) submission(cmd *cobra.Command, f submitFlags, agent []string) (graf.TaskSubmission, error) {
	s := graf.TaskSubmission{
		OrchestrationMode: graf.OrchestrationMode(f.mode), Project: f.project, Tags: f.tags, Apply: f.apply, IdempotencyKey: f.key,
	}
	if cmd.Flags().Changed("priority") {
		s.Priority = &f.priority
	}
	if cmd.Flags().Changed("max-attempts") {
		s.MaxAttempts = &f.attempts
	}
	if f.timeout != 0 {
		s.TimeoutSeconds = new(int(f.timeout.Seconds()))
	}
	s.Budget = budget(cmd, f)
	for _, text := range f.targets {
		target, err := parseTarget(text, f.namespace, f.selector)
		if err != nil {
			return s, err
		}
		s.TargetResources = append(s.TargetResources, target)
	}
	for _, file := range f.manifests {
		manifests, err := readManifests(file)
		if err != nil {
			return s, usage("--manifest: %w", err)
		}
		s.Manifests = append(s.Manifests, manifests...)
	}
	var err error
	s.Agent, err = a.agent(f, agent)
	return s, err
}

// budget is what was given of it, nil for nothing.
func budget(cmd *cobra.Command, f submitFlags) *graf.Budget {
	var given graf.Budget
	if cmd.Flags().Changed("budget-tokens") {
		given.Tokens = &f.tokens
	}
	if cmd.Flags().Changed("budget-usd") {
		given.USD = &f.usd
	}
	if given == (graf.Budget{}) {
		return nil
	}
	return &given
}

// agent is the one behind --, or the context's.
func (a *app) agent(f submitFlags, command []string) (graf.Agent, error) {
	use, err := a.current()
	if err != nil {
		return graf.Agent{}, err
	}
	agent := graf.Agent{Kind: graf.AgentKindCommand}
	if use.Agent != nil {
		agent = *use.Agent
	}
	f.override(&agent, command)
	if agent.Kind == graf.AgentKindCommand && len(agent.Command) == 0 {
		return agent, usage("there is no agent\nput its program behind --, as in: graf submit 'what to do' -- my-agent; or tell graf login")
	}
	if err := f.addSecretEnv(&agent); err != nil {
		return agent, err
	}
	for _, variable := range f.env {
		name, value, given := strings.Cut(variable, "=")
		if !given {
			if value, given = os.LookupEnv(name); !given {
				return agent, usage("--env %s: it is not set here", name)
			}
		}
		if agent.Env == nil {
			agent.Env = map[string]string{}
		}
		agent.Env[name] = value
	}
	return agent, nil
}

// override puts what was given in the place of the context's.
func (f submitFlags) override(agent *graf.Agent, command []string) {
	if f.kind != "" && graf.AgentKind(f.kind) != agent.Kind {
		agent.Kind, agent.Command, agent.Arguments, agent.Model = graf.AgentKind(f.kind), nil, nil, ""
	}
	if len(command) > 0 && agent.Kind == graf.AgentKindCommand {
		agent.Command = command
	} else if len(command) > 0 {
		agent.Arguments = command
	}
	if f.model != "" {
		agent.Model = f.model
	}
	if f.image != "" {
		agent.Image = f.image
	}
	if len(f.artifacts) > 0 {
		agent.Artifacts = f.artifacts
	}
	if f.repository != (graf.Repository{}) {
		agent.Repository = f.repository
	}
}

func (f submitFlags) addSecretEnv(agent *graf.Agent) error {
	for _, text := range f.secretEnv {
		name, reference, given := strings.Cut(text, "=")
		secret, key, both := strings.Cut(reference, "/")
		if !given || !both {
			return usage("--secret-env %s: write NAME=SECRET/KEY", text)
		}
		if agent.SecretEnv == nil {
			agent.SecretEnv = map[string]graf.SecretKey{}
		}
		agent.SecretEnv[name] = graf.SecretKey{Name: secret, Key: key}
	}
	return nil
}

// readManifests reads a file of YAML documents or JSON.
func readManifests(file string) ([]graf.Manifest, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var manifests []graf.Manifest
	decoder := documents.NewDecoder(bytes.NewReader(text))
	for number := 1; ; number++ {
		manifest, err := nextManifest(decoder)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s, document %d: %w", file, number, err)
		}
		if string(manifest) != "null" {
			manifests = append(manifests, manifest)
		}
	}
	if len(manifests) == 0 {
		return nil, errors.New(file + " has no resource")
	}
	return manifests, nil
}

// nextManifest is the next document, io.EOF after the last. The decoder knows where each
// begins and ends; what its values are is as Kubernetes reads YAML.
func nextManifest(decoder *documents.Decoder) (graf.Manifest, error) {
	var document documents.Node
	if err := decoder.Decode(&document); err != nil {
		return nil, err
	}
	text, err := documents.Marshal(&document)
	if err != nil {
		return nil, err
	}
	return yaml.YAMLToJSON(text)
}
