package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/graf-run/graf/local/demo"
	"github.com/graf-run/graf/local/platform"
)

func demoCommand() *cobra.Command {
	var agent, model string
	command := &cobra.Command{
		Use:   "demo",
		Short: "Run the main job end to end and show it happening",
		Long: `Start the local platform, run three tasks on Deployments that Knative ships, and stop
the platform. The last line on standard output is one JSON object with what came of
it; the status is 0 only if all came out as it should. The settings are those of run.

With --agent codex or claude, run two tasks by that agent, whose program must be on the
PATH. It needs OPENAI_API_KEY or ANTHROPIC_API_KEY, or OPENAI_BASE_URL for an endpoint
that is compatible with OpenAI's Responses API. With AGENT_ before their names, these are
for the agent alone, and the embedding model stays the offline one.`,
		Example: `  graf-local demo
  AGENT_OPENAI_API_KEY=sk-… graf-local demo --agent codex --model gpt-5-codex`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), cmd, agent, model)
		},
	}
	command.Flags().StringVar(&agent, "agent", "", "kind of agent: codex or claude (the example agent)")
	command.Flags().StringVar(&model, "model", "", "its language model (its own choice)")
	return command
}

// keys are what each kind of agent cannot do without, one of them.
var keys = map[string][]string{
	"codex": {"OPENAI_API_KEY", "OPENAI_BASE_URL"}, "claude": {"ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"},
}

// checkAgent says what an agent lacks.
func checkAgent(agent string, credentials map[string]string) error {
	if agent == "" {
		return nil
	}
	wanted, known := keys[agent]
	if !known {
		return fmt.Errorf("--agent %s: it must be codex or claude", agent)
	}
	if !slices.ContainsFunc(wanted, func(name string) bool { return credentials[name] != "" }) {
		return fmt.Errorf("%s has no key: set AGENT_%s (or %s, for the embeddings, too)", agent, wanted[0], wanted[0])
	}
	if _, err := exec.LookPath(agent); err != nil {
		return fmt.Errorf("%s is not installed: %w", agent, err)
	}
	return nil
}

func runDemo(ctx context.Context, cmd *cobra.Command, agent, model string) error {
	config, err := platformConfig(cmd)
	if err != nil {
		return err
	}
	if err := checkAgent(agent, config.Credentials); err != nil {
		return err
	}
	deployments, err := demo.LoadDeployments(ctx, ".")
	if err != nil {
		return err
	}
	log, err := openLog(config.Services.DataFolder, "demo.log")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // what of a log is lost at the end, is
	out := cmd.OutOrStdout()
	config.Log, config.Progress = log, progress(out)
	_, _ = fmt.Fprintf(out, "Graf's main job, on Deployments of Knative Eventing\n"+
		"  data  %s\n  log   %s\n\n", config.Services.DataFolder, log.Name())
	result, err := demoOnPlatform(ctx, config, demo.Config{
		Agent: agent, Model: model, Deployments: deployments, Out: out, Colour: hasColour(out),
	})
	if err != nil {
		return fmt.Errorf("%w\nthe functions' log is %s", err, log.Name())
	}
	_, _ = fmt.Fprintf(out, "\nAll came out as it should. make run goes on with the same data.\n")
	return json.NewEncoder(out).Encode(result)
}

// demoOnPlatform runs the demo on a platform of its own, which has stopped when
// it returns.
func demoOnPlatform(ctx context.Context, config platform.Config, what demo.Config) (_ demo.Result, err error) {
	p, err := platform.Start(ctx, config)
	if err != nil {
		return demo.Result{}, err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, p.Stop(stopping))
	}()
	_, _ = fmt.Fprintf(what.Out, "\n  %-22s %s\n  %-22s %s\n", "HTTP API", p.URL(), "embedding model", p.Model())
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case failure := <-p.Failed():
			cancel(failure)
		case <-running.Done():
		}
	}()
	what.URL, what.Token = p.URL(), p.Token()
	return demo.Run(running, what)
}

// openLog opens the file for the functions' logs; an earlier run's is kept in it.
func openLog(dataFolder, name string) (*os.File, error) {
	folder := filepath.Join(dataFolder, "logs")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for logs: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(folder, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return log, nil
}

// hasColour says whether out is a terminal whose user has not asked for plain
// text (https://no-color.org).
func hasColour(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
