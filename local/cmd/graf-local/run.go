package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/graf-run/graf/local/platform"
)

// stopTimeout bounds the stopping of the platform.
const stopTimeout = 45 * time.Second

func runCommand() *cobra.Command {
	var ephemeral bool
	command := &cobra.Command{
		Use:   "run [--ephemeral] [-- COMMAND [ARGUMENT…]]",
		Short: "Run the local platform, beside a command or until Ctrl-C",
		Long: `Run the local platform until Ctrl-C: Postgres, Redis, object storage, the embedding
model, the Broker and the six functions, with the functions' logs on standard error.
Nothing remains but the data folder, from which the next run goes on.

With a command, run that beside the platform and exit with its status; it finds the
platform by GRAF_URL, GRAF_TOKEN and GRAF_BROKER_URL. The functions' logs are in the
data folder then.

Ports: GRAF_PORT (8080), GRAF_BROKER_PORT (18081), GRAF_KUBERNETES_PORT (16443),
GRAF_POSTGRES_PORT (15432), GRAF_REDIS_PORT (16379), GRAF_S3_PORT (19000).
Servers that exist: GRAF_DATABASE_URL, GRAF_REDIS_URL, and GRAF_S3_ENDPOINT with
GRAF_S3_ACCESS_KEY_ID and GRAF_S3_SECRET_ACCESS_KEY; for each that is set, none is started.
OPENAI_API_KEY or OPENAI_BASE_URL: use that embedding model in place of the offline one.
AGENT_OPENAI_API_KEY, AGENT_ANTHROPIC_API_KEY, AGENT_GIT_TOKEN …: what agents log in with
(without AGENT_, the same). codex or claude must be on the PATH for tasks of that kind.
GRAF_TICK (5s): how often the sweep runs.`,
		Example: `  graf-local run
  graf-local run --ephemeral -- go test ./...`,
		RunE: func(cmd *cobra.Command, arguments []string) error {
			config, err := platformConfig(cmd)
			if err != nil {
				return err
			}
			if ephemeral {
				remove, err := makeEphemeral(&config)
				if err != nil {
					return err
				}
				defer remove()
			}
			if len(arguments) > 0 {
				return runBesidePlatform(cmd.Context(), config, arguments)
			}
			return runPlatform(cmd.Context(), cmd.OutOrStdout(), config)
		},
	}
	command.Flags().BoolVar(&ephemeral, "ephemeral", false,
		"for tests: free ports and a new folder that is removed at the end, and no waiting for the disk")
	return command
}

// makeEphemeral has the platform use free ports and a folder of its own, which
// remove removes. Other users can pass it, as Postgres needs where root may make
// no user namespace.
func makeEphemeral(config *platform.Config) (remove func(), err error) {
	folder, err := os.MkdirTemp("", "graf-")
	if err == nil {
		err = os.Chmod(folder, 0o711) //nolint:gosec // see above; what is in it is for its owner alone
	}
	if err != nil {
		return nil, fmt.Errorf("make a folder for the data: %w", err)
	}
	config.Services.DataFolder, config.Services.Ephemeral = folder, true
	config.Port, config.BrokerPort, config.KubernetesPort = 0, 0, 0
	return func() { _ = os.RemoveAll(folder) }, nil // the system clears such folders, too
}

// runBesidePlatform runs the command while the platform runs.
func runBesidePlatform(ctx context.Context, config platform.Config, arguments []string) (err error) {
	log, err := openLog(config.Services.DataFolder, "run.log")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // what of a log is lost at the end, is
	config.Log = log
	p, err := platform.Start(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, p.Stop(stopping))
	}()
	//nolint:noctx // signals reach it by runForwarding, not as the kill that a context sends
	cmd := exec.Command(arguments[0], arguments[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "GRAF_URL="+p.URL(), "GRAF_TOKEN="+p.Token(), "GRAF_BROKER_URL="+p.BrokerURL())
	return runForwarding(cmd, p.Failed())
}

func runPlatform(ctx context.Context, out io.Writer, config platform.Config) error {
	config.Log = os.Stderr
	config.Progress = progress(out)
	p, err := platform.Start(ctx, config)
	if err != nil {
		return err
	}
	printPlatform(out, p)
	var failure error
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "\nstopping …")
	case failure = <-p.Failed():
		failure = fmt.Errorf("%w (the platform is being stopped)", failure)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "stopped; the data is kept in", config.Services.DataFolder)
	return failure
}

// platformConfig reads the configuration: flags, and the environment for the rest.
func platformConfig(cmd *cobra.Command) (platform.Config, error) {
	config, err := platform.ConfigFromEnvironment()
	if err != nil {
		return platform.Config{}, err
	}
	data, err := cmd.Flags().GetString("data")
	if err != nil {
		return platform.Config{}, err
	}
	if config.Services.DataFolder, err = filepath.Abs(data); err != nil {
		return platform.Config{}, err
	}
	program, err := os.Executable()
	if err != nil {
		return platform.Config{}, fmt.Errorf("find the functions' programs: %w", err)
	}
	config.Programs = filepath.Dir(program)
	return config, nil
}

// progress prints a line for each step of the start.
func progress(out io.Writer) func(string, time.Duration) {
	return func(step string, took time.Duration) {
		fmt.Fprintf(out, "  ready  %-36s %6d ms\n", step, took.Milliseconds())
	}
}

func printPlatform(out io.Writer, p *platform.Platform) {
	fmt.Fprintf(out, "\nGraf runs on this machine. Press Ctrl-C to stop it.\n\n")
	for _, e := range p.Endpoints() {
		fmt.Fprintf(out, "  %-22s %s\n", e.Name, e.Address)
	}
	fmt.Fprintf(out, "  %-22s %s\n", "embedding model", p.Model())
	fmt.Fprintf(out, "  %-22s %s\n\n", "environment", p.EnvironmentFile())
	fmt.Fprintf(out, "Try it in another terminal:\n\n"+
		"  . %s\n"+
		"  curl -sS \"$GRAF_URL/v1/codex/tasks\" -H \"Authorization: Bearer $GRAF_TOKEN\" \\\n"+
		"    -H 'Content-Type: application/json' \\\n"+
		"    -d '{\"prompt\": \"Say hello\", \"agent\": {\"kind\": \"command\", \"command\": [\"echo\", \"hello\"]}}'\n\n",
		p.EnvironmentFile())
}
