package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/graf-run/graf/local/demo"
	"github.com/graf-run/graf/local/platform"
)

func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Run the main job end to end and show it happening",
		Long: `Start the local platform, run three tasks on Deployments that Knative ships, and stop
the platform. The last line on standard output is one JSON object with what came of
it; the status is 0 only if all came out as it should. The settings are those of run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), cmd)
		},
	}
}

func runDemo(ctx context.Context, cmd *cobra.Command) error {
	config, err := platformConfig(cmd)
	if err != nil {
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
	_, _ = fmt.Fprintf(out, "Graf's main job, on three Deployments of Knative Eventing\n"+
		"  data  %s\n  log   %s\n\n", config.Services.DataFolder, log.Name())
	result, err := demoOnPlatform(ctx, out, config, deployments)
	if err != nil {
		return fmt.Errorf("%w\nthe functions' log is %s", err, log.Name())
	}
	_, _ = fmt.Fprintf(out, "\nAll came out as it should. make run goes on with the same data.\n")
	return json.NewEncoder(out).Encode(result)
}

// demoOnPlatform runs the demo on a platform of its own, which has stopped when
// it returns.
func demoOnPlatform(ctx context.Context, out io.Writer, config platform.Config, deployments demo.Deployments) (_ demo.Result, err error) {
	p, err := platform.Start(ctx, config)
	if err != nil {
		return demo.Result{}, err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, p.Stop(stopping))
	}()
	_, _ = fmt.Fprintf(out, "\n  %-22s %s\n  %-22s %s\n", "HTTP API", p.URL(), "embedding model", p.Model())
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case failure := <-p.Failed():
			cancel(failure)
		case <-running.Done():
		}
	}()
	return demo.Run(running, demo.Config{
		URL: p.URL(), Token: p.Token(), Deployments: deployments, Out: out, Colour: hasColour(out),
	})
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
