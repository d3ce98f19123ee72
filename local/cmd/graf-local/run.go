package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/graf-run/graf/local/platform"
)

// stopTimeout bounds the stopping of the platform.
const stopTimeout = 45 * time.Second

func runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the local platform until Ctrl-C",
		Long: `Run the local platform until Ctrl-C: Postgres, Redis, object storage, the embedding
model, the Broker and the six functions, with the functions' logs on standard error.
Nothing remains but the data folder, from which the next run goes on.

Ports: GRAF_PORT (8080), GRAF_BROKER_PORT (18081), GRAF_KUBERNETES_PORT (16443),
GRAF_POSTGRES_PORT (15432), GRAF_REDIS_PORT (16379), GRAF_S3_PORT (19000).
Servers that exist: GRAF_DATABASE_URL, GRAF_REDIS_URL, and GRAF_S3_ENDPOINT with
GRAF_S3_ACCESS_KEY_ID and GRAF_S3_SECRET_ACCESS_KEY; for each that is set, none is started.
OPENAI_API_KEY or OPENAI_BASE_URL: use that embedding model in place of the offline one.
GRAF_TICK (5s): how often the sweep runs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runPlatform(cmd.Context(), cmd)
		},
	}
}

func runPlatform(ctx context.Context, cmd *cobra.Command) error {
	config, err := platformConfig(cmd)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
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
