// Command manifest-agent is an example of an agent: a program that Graf runs for
// a task. It sets one field of one Kubernetes manifest for a stated reason, and
// shows every part of the container contract on the way: it reads its prompt and
// manifests, reports progress, uploads an artifact, posts the state afterwards
// and says what it learned.
//
// It stands on the contract alone and imports nothing of Graf, as an agent of
// someone else's would. See ../../README.md.
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
	err := run(ctx, os.Args[1:], os.Getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "manifest-agent:", err)
		os.Exit(1)
	}
}

// run does the task that the environment describes; getenv reads one variable.
func run(ctx context.Context, arguments []string, getenv func(string) string) error {
	o, err := parseOptions(arguments, os.Stderr)
	if err != nil {
		return err
	}
	c, err := readContract(getenv)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(ctx, c.deadline)
	defer cancel()
	a := &agent{options: o, contract: c, client: newClient(c)}
	return a.run(ctx)
}
