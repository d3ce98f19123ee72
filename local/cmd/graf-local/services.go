package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"github.com/graf-run/graf/local/services"
	"github.com/graf-run/graf/shared/artifact"
)

// testPrefix starts the names of the variables that tests find the servers by.
const testPrefix = "GRAF_TEST_"

// servicesOptions are the flags of graf-local services.
type servicesOptions struct {
	ephemeral, embeddings bool
	listen, envFile       string
	kubernetes            string
}

func servicesCommand() *cobra.Command {
	var o servicesOptions
	command := &cobra.Command{
		Use:   "services [FLAG…] [-- COMMAND [ARGUMENT…]]",
		Short: "Run Postgres, Redis and an S3 server, beside a command or until Ctrl-C",
		Long: `Run a command with Postgres (with pgvector), Redis and an S3 server beside it,
and exit with the command's status. The command finds them by GRAF_TEST_DATABASE_URL,
GRAF_TEST_REDIS_URL, GRAF_TEST_S3_ENDPOINT, GRAF_TEST_S3_REGION,
GRAF_TEST_S3_ACCESS_KEY_ID and GRAF_TEST_S3_SECRET_ACCESS_KEY. Those of the URLs and
the endpoint that are set already name servers that exist, and none is started instead.
With --kubernetes there is an API server, too, without controllers and nodes: see
GRAF_TEST_KUBECONFIG, which likewise may name one that exists.

Without a command, run them until Ctrl-C and start again those that end by themselves.`,
		Example: `  graf-local services --ephemeral -- go test ./shared/memory/...
  graf-local services --ephemeral --kubernetes "$(cluster/apiserver.sh)" -- go test ./shared/...
  graf-local services --listen 10.200.0.1 --embeddings --env-file services.env`,
		RunE: func(cmd *cobra.Command, arguments []string) error {
			config, err := o.config(cmd)
			if err != nil {
				return err
			}
			if len(arguments) == 0 {
				return serveServices(cmd.Context(), config, o.envFile)
			}
			if o.envFile != "" {
				return errors.New("--env-file is for running the servers without a command, which has them in its environment")
			}
			return runBesideServices(cmd.Context(), config, arguments)
		},
	}
	flags := command.Flags()
	flags.BoolVar(&o.ephemeral, "ephemeral", false,
		"for tests: free ports and a new folder that is removed at the end, and no waiting for the disk")
	flags.BoolVar(&o.embeddings, "embeddings", false, "serve the offline embedding model, too (graf-embeddings, beside this program)")
	flags.StringVar(&o.kubernetes, "kubernetes", "",
		"program that cluster/apiserver.sh prints: run a Kubernetes API server, too; with --ephemeral only")
	flags.StringVar(&o.listen, "listen", "", "IP address of this machine to listen on (default: loopback)")
	flags.StringVar(&o.envFile, "env-file", "", "file to write the functions' settings for these servers to, once they answer; without a command only")
	return command
}

func (o servicesOptions) config(cmd *cobra.Command) (services.Config, error) {
	config, err := services.ConfigFromEnvironment(testPrefix)
	if err != nil {
		return services.Config{}, err
	}
	config.Ephemeral, config.Listen = o.ephemeral, o.listen
	if o.embeddings {
		program, err := os.Executable()
		if err != nil {
			return services.Config{}, fmt.Errorf("find graf-embeddings: %w", err)
		}
		config.Embeddings = filepath.Join(filepath.Dir(program), "graf-embeddings")
	}
	if os.Getenv(services.TestKubeconfig) == "" {
		config.Kubernetes = o.kubernetes
	}
	config.DataFolder, err = cmd.Flags().GetString("data")
	return config, err
}

// serveServices runs the servers until ctx ends.
func serveServices(ctx context.Context, config services.Config, envFile string) (err error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	set, err := services.New(config, logger)
	if err != nil {
		return err
	}
	if err := set.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Stop(context.WithoutCancel(ctx))) }()
	if err := makeBucket(ctx, set.Connection()); err != nil {
		return err
	}
	if envFile != "" {
		if err := writeEnvFile(envFile, set); err != nil {
			return err
		}
		defer func() { _ = os.Remove(envFile) }() // it would name servers that do not run
	}
	logger.Info("the servers run; Ctrl-C stops them", "folder", set.Folder())
	set.Keep(ctx, logger)
	return nil
}

// bucket is the one that functions use unless told otherwise.
const bucket = "graf"

func makeBucket(ctx context.Context, connection services.Connection) error {
	settings := append(connection.Environment("GRAF_"), "GRAF_S3_BUCKET="+bucket)
	config, err := env.ParseAsWithOptions[artifact.Config](env.Options{Environment: env.ToMap(settings)})
	if err != nil {
		return err
	}
	store, err := artifact.New(config)
	if err != nil {
		return err
	}
	return store.EnsureBucket(ctx)
}

// writeEnvFile writes the functions' settings for the servers, a line NAME=value
// each. The file appears whole, and only its owner may read it.
func writeEnvFile(file string, set *services.Set) error {
	settings := append(set.Connection().Environment("GRAF_"), "GRAF_S3_BUCKET="+bucket)
	settings = append(settings, set.EmbeddingsEnvironment()...)
	unfinished := file + ".new"
	err := os.WriteFile(unfinished, []byte(strings.Join(settings, "\n")+"\n"), 0o600)
	if err == nil {
		err = os.Rename(unfinished, file)
	}
	if err != nil {
		return fmt.Errorf("write the functions' settings: %w", err)
	}
	return nil
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
	cmd.Env = append(cmd.Env, set.KubernetesEnvironment()...)
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
