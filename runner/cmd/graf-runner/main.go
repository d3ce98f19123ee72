// Command graf-runner starts a task's agent, and reports what it does to Graf.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/graf-run/graf/runner"
	"github.com/graf-run/graf/runner/agent"
	"github.com/graf-run/graf/runner/process"
)

// Exit codes of the runner's own; any other is the agent's.
const (
	exitFailed   = 1
	exitContract = 64 // EX_USAGE of sysexits.h
)

func main() {
	debug.SetGCPercent(50) // memory is dearer than processor time beside an agent

	code := 0
	if err := command(&code).Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "graf-runner:", err)
		code = exitFailed
		if errors.Is(err, runner.ErrContract) {
			code = exitContract
		}
	}
	os.Exit(code)
}

func command(code *int) *cobra.Command {
	c := runner.DefaultConfig()
	var prices string
	cmd := &cobra.Command{
		Use:   "graf-runner [flags] [-- PROGRAM | ARGUMENT…]",
		Short: "Run a task's agent, and report what it does to Graf",
		Long: `Run a task's agent, and report what it does to Graf.

The environment says which task: see docs/container-contract.md. Agent "command" is
any program, named after --; the others are language models' agents, which get what
stands there as further arguments.

Artifacts are files in the agent's folder: patterns are as the shell's, with ** for
any number of folders and {a,b} for either; what begins with a dot is matched only
where the pattern has the dot. Links that lead out of the folder are not followed.
At most 200 files are uploaded, whether the agent succeeded or not; names are their
paths, with _ for / and without secrets. A file that changes meanwhile is sent anew a
few times. What is left out, the task's log tells. A cancelled task ends with its
Job, and takes only what is quicker.

The exit code is the agent's; 1 if the run failed although the agent exited with 0;
64 if the environment is not that of a task, or the arguments are wrong.`,
		Example: `  graf-runner -- make test
  graf-runner --agent codex --model gpt-5-codex --mcp
  graf-runner --agent claude --artifacts 'report/*.md'`,
		Args: cobra.ArbitraryArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			c.Arguments = args
			if c.Prices, err = readPrices(prices); err != nil {
				return fmt.Errorf("%w: %w", runner.ErrContract, err)
			}
			contract, err := runner.ReadContract(os.Getenv)
			if err != nil {
				return err
			}
			*code, err = run(cmd.Context(), contract, c)
			return err
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", runner.ErrContract, err) })
	flags := cmd.Flags()
	flags.StringVar(&c.Agent, "agent", c.Agent, "kind of agent: "+strings.Join(agent.Kinds(), ", "))
	flags.StringVar(&c.Model, "model", "", "language model (the agent's own choice)")
	flags.BoolVar(&c.MCP, "mcp", false, "give the agent the task's memory, and what else Graf has for it, by MCP")
	flags.StringVar(&c.Folder, "folder", "", "where the agent works (the present folder)")
	flags.StringSliceVar(&c.Secrets, "secret", nil, "names of variables to hide besides those that are called token, key, password and the like")
	flags.StringArrayVar(&c.Artifacts, "artifacts", nil, "pattern of files to upload when the agent has ended, such as 'report/**/*.md' (repeatable)")
	flags.DurationVar(&c.ArtifactsTime, "artifacts-time", c.ArtifactsTime, "what there is to upload them; once the run is told to end, what --flush says")
	flags.DurationVar(&c.Grace, "grace", c.Grace, "what the agent has to end when it is told to")
	flags.DurationVar(&c.Flush, "flush", c.Flush, "what there is to send the last reports after the agent's end")
	flags.DurationVar(&c.Heartbeat, "heartbeat", c.Heartbeat, "how often the task hears that its agent lives; 0 for never")
	flags.StringVar(&c.SpoolFolder, "spool", c.SpoolFolder, "folder of the file with reports that wait")
	flags.Int64Var(&c.SpoolLimit, "spool-limit", c.SpoolLimit, "most bytes of reports that wait")
	flags.IntVar(&c.Tries, "tries", c.Tries, "how often an agent is started that a later try may help, by going on with its session")
	flags.StringVar(&prices, "prices", "", "YAML file with what models cost, for budgets in dollars")
	workFlags(flags, &c)
	cmd.AddCommand(installCommand(), credentialCommand())
	return cmd
}

// readPrices reads the price list of a file, or else what Graf told of prices.
func readPrices(file string) (runner.Prices, error) {
	if file != "" {
		return runner.ReadPrices(file)
	}
	if text := os.Getenv("GRAF_MODEL_PRICES"); text != "" {
		return runner.ParsePrices(text)
	}
	return nil, nil
}

func run(ctx context.Context, contract runner.Contract, c runner.Config) (int, error) {
	if err := process.Adopt(); err != nil {
		return exitFailed, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	go func() {
		if s, received := <-signals; received {
			cancel(fmt.Errorf("%w: %s", runner.ErrCancelled, s))
		}
	}()
	return runner.Run(ctx, contract, c)
}

// installCommand is for the init container that brings the runner into a pod whose
// image has none.
func installCommand() *cobra.Command {
	return &cobra.Command{
		Use: "install FOLDER", Short: "Copy this program into a folder", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return install(args[0]) },
	}
}

func install(folder string) (err error) {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	from, err := os.Open(self)
	if err != nil {
		return fmt.Errorf("read this program: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := os.OpenFile(filepath.Join(folder, "graf-runner"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755) //nolint:gosec // a program
	if err != nil {
		return fmt.Errorf("write the program: %w", err)
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}
