// Command migrate brings Graf's database to the schema of this version.
//
//	GRAF_DATABASE_URL=postgres://… migrate          apply what is missing
//	GRAF_DATABASE_URL=postgres://… migrate -check   exit 1 if anything is missing
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/graf-run/graf/migrations"
)

func main() {
	check := flag.Bool("check", false, "only tell whether migrations are missing: exit 1 if so")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv("GRAF_DATABASE_URL"), *check); err != nil {
		fmt.Fprintln(os.Stderr, "migrate:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, url string, check bool) error {
	if url == "" {
		return fmt.Errorf("GRAF_DATABASE_URL is not set: give the database as postgres://user:password@host:port/name")
	}
	if check {
		pending, err := migrations.Pending(ctx, url)
		if err != nil {
			return err
		}
		if pending > 0 {
			return fmt.Errorf("%d migrations are missing: run migrate", pending)
		}
		return nil
	}
	applied, err := migrations.Up(ctx, url)
	if err != nil {
		return err
	}
	for _, m := range applied {
		fmt.Printf("applied %s in %d ms\n", m.Source, m.Milliseconds)
	}
	if len(applied) == 0 {
		fmt.Println("the schema is up to date")
	}
	return nil
}
