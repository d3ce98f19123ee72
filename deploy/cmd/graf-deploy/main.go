// Command graf-deploy puts Graf on a cluster and takes it off again. make deploy
// and make undeploy run it; deploy/README.md says how to use it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "deploy:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	s := settingsFromEnvironment()
	var remove bool
	flags := flag.NewFlagSet("graf-deploy", flag.ContinueOnError)
	flags.BoolVar(&remove, "undeploy", false, "remove what a deployment put on the cluster")
	flags.StringVar(&s.overlay, "overlay", s.overlay, "folder of the kustomize overlay (GRAF_OVERLAY)")
	flags.StringVar(&s.funcProgram, "func", s.funcProgram, "the program func (knative.dev/func)")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is one argument too many: everything is a flag or a variable", flags.Arg(0))
	}
	d := &deployment{settings: s, cluster: &cluster{root: s.root}, progress: newProgress(os.Stderr), out: os.Stdout}
	if remove {
		return d.undeploy(ctx)
	}
	return d.deploy(ctx)
}
