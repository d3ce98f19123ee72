// Command graf talks to Graf: it submits tasks, watches them, and shows what came
// of them. docs/cli.md describes it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	status := execute(ctx, os.Args[1:], terminalStreams())
	stop()
	os.Exit(status)
}
