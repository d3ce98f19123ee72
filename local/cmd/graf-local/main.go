// Command graf-local stands in for a cluster on one machine: it runs the
// servers that Graf needs and what is built on them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:]))
}

// execute runs one command line and gives the status to exit with: that of the
// command that was run on the user's behalf, where there was one.
func execute(ctx context.Context, arguments []string) int {
	root := &cobra.Command{
		Use:           "graf-local",
		Short:         "Run Graf, or parts of it, on this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().String("data", defaultDataFolder(), "folder that holds everything written")
	root.AddCommand(servicesCommand(), runCommand(), demoCommand())
	root.SetArgs(arguments)
	err := root.ExecuteContext(ctx)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode() // the command has told what was wrong
	default:
		fmt.Fprintln(os.Stderr, "graf-local:", err)
		return 1
	}
}

// defaultDataFolder is .graf at the root of the workspace that the working
// folder is in.
func defaultDataFolder() string {
	const name = ".graf"
	start, err := os.Getwd()
	if err != nil {
		return name
	}
	for folder := start; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.work")); err == nil {
			return filepath.Join(folder, name)
		}
		if folder == filepath.Dir(folder) {
			return filepath.Join(start, name)
		}
	}
}
