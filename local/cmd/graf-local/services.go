package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/graf-run/graf/local/services"
)

// testPrefix starts the names of the variables that tests find the servers by.
const testPrefix = "GRAF_TEST_"

func servicesCommand() *cobra.Command {
	var ephemeral bool
	command := &cobra.Command{
		Use:   "services [--ephemeral] -- COMMAND [ARGUMENT…]",
		Short: "Run a command with Postgres, Redis and an S3 server beside it",
		Long: `Run a command with Postgres (with pgvector), Redis and an S3 server beside it,
and exit with the command's status. The command finds them by GRAF_TEST_DATABASE_URL,
GRAF_TEST_REDIS_URL, GRAF_TEST_S3_ENDPOINT, GRAF_TEST_S3_REGION,
GRAF_TEST_S3_ACCESS_KEY_ID and GRAF_TEST_S3_SECRET_ACCESS_KEY. Those of the URLs and
the endpoint that are set already name servers that exist, and none is started instead.`,
		Example: "  graf-local services --ephemeral -- go test ./shared/...",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, arguments []string) error {
			config, err := services.ConfigFromEnvironment(testPrefix)
			if err != nil {
				return err
			}
			config.Ephemeral = ephemeral
			if config.DataFolder, err = cmd.Flags().GetString("data"); err != nil {
				return err
			}
			return runBesideServices(cmd.Context(), config, arguments)
		},
	}
	command.Flags().BoolVar(&ephemeral, "ephemeral", false,
		"for tests: free ports and a new folder that is removed at the end, and no waiting for the disk")
	return command
}

// runBesideServices runs the command while the servers run.
func runBesideServices(ctx context.Context, config services.Config, arguments []string) (err error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	set, err := services.New(config, logger)
	if err != nil {
		return err
	}
	if err := set.Start(ctx); err != nil {
		return err
	}
	// Stopping is due also when a signal has ended ctx.
	defer func() {
		if stopErr := set.Stop(context.WithoutCancel(ctx)); stopErr != nil {
			logger.Error("stop the servers", "error", stopErr)
			err = errors.Join(err, stopErr)
		}
	}()
	//nolint:noctx // signals reach it by runForwarding, not as the kill that a context sends
	cmd := exec.Command(arguments[0], arguments[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), set.Connection().Environment(testPrefix)...)
	return runForwarding(cmd, set.Failed())
}

// runForwarding runs cmd to its end and passes it the signals that come in
// the meantime. It asks cmd to end when a server fails.
func runForwarding(cmd *exec.Cmd, failed <-chan error) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var failure error
	for {
		select {
		case received := <-signals:
			_ = cmd.Process.Signal(received) // it may have ended just now
		case err := <-failed:
			failure = errors.Join(failure, err)
			_ = cmd.Process.Signal(syscall.SIGTERM) // likewise
		case err := <-ended:
			if failure != nil {
				return fmt.Errorf("%w\n%s was asked to end", failure, cmd.Path)
			}
			return err
		}
	}
}
