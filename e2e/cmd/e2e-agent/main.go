// Command e2e-agent is the agent, and the other programs, that tests run: the
// end-to-end tests in pods, those of the local platform as processes. Its first
// argument says what it does.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "e2e-agent:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("say what to do: work, hang, grow, call, act or rest, or a behaviour of the conformance suite")
	}
	if behave, ok := behaviours[arguments[0]]; ok {
		return behave(ctx, arguments[1:])
	}
	switch arguments[0] {
	case "work":
		return work(ctx, os.Getenv("GATE"), os.Getenv("PATIENT") != "false")
	case "hang":
		return hang(ctx)
	case "grow":
		return grow(ctx)
	case "call":
		return call(ctx, os.Getenv("CALLS"))
	case "act":
		return act(ctx, os.Getenv("STEPS"))
	case "rest":
		return nil
	}
	return fmt.Errorf("unknown: %s", arguments[0])
}

// hang never says a word and ends only when it is told to.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// grow takes memory until it is killed.
func grow(ctx context.Context) error {
	var all [][]byte
	for ctx.Err() == nil {
		block := make([]byte, 1<<20)
		for i := range block {
			block[i] = byte(i) // pages that are not written to are not there
		}
		all = append(all, block)
	}
	return fmt.Errorf("still alive with %d MiB: %w", len(all), context.Cause(ctx))
}
