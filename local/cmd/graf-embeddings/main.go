// Command graf-embeddings serves the local platform's offline sentence model
// over OpenAI's embeddings API.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/graf-run/graf/local/embeddings"
)

// stopTimeout bounds how long a stop waits for requests that are running.
const stopTimeout = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "graf-embeddings:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("graf-embeddings", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8090", "address to listen on; port 0 takes a free one")
	dir := flags.String("model-dir", "", "folder with the weights (default: where local/install-model.sh puts them)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	started := time.Now()
	model, err := load(*dir)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen on %s (choose another with --listen): %w", *listen, err)
	}
	fmt.Fprintf(out, "embeddings: model %s (%d dimensions) on http://%s/v1, ready in %d ms\n",
		embeddings.ModelName, embeddings.Dimension, listener.Addr(), time.Since(started).Milliseconds())
	return serve(ctx, listener, embeddings.NewServer(model))
}

func load(dir string) (*embeddings.Model, error) {
	// The weights never become garbage, so the default, which lets the heap
	// grow to twice the live data, would cost their size again.
	debug.SetGCPercent(30)
	if dir == "" {
		var err error
		if dir, err = embeddings.DefaultModelDir(); err != nil {
			return nil, err
		}
	}
	model, err := embeddings.Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (run make setup, or local/install-model.sh)", err)
	}
	return model, err
}

// serve runs until ctx ends, then lets running requests finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      5 * time.Minute,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}
