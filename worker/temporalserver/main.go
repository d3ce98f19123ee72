// Command temporalserver runs a Temporal server for tests: all services in one
// process, with SQLite in memory, so that what it knows ends with it. It is no
// server to rely on.
//
// It serves a free port of the loopback interface, prints its address and its
// namespace, and ends when its standard input does, so that no test leaves one
// behind. With --listen it serves that address besides, as of a pod, and ends by a
// signal.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/server/temporaltest"
	"google.golang.org/protobuf/types/known/durationpb"
)

// retention is how long the namespace keeps workflows that have ended.
const retention = 24 * time.Hour

func main() {
	listen := flag.String("listen", "", "address, such as :7233, to serve besides; then a signal ends it, not the end of its input")
	namespace := flag.String("namespace", "", "namespace to make; without it there is one with a name by chance")
	flag.Parse()
	server := temporaltest.NewServer()
	err := serve(server.GetFrontendHostPort(), server.GetDefaultNamespace(), *namespace, *listen)
	server.Stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "temporalserver:", err)
		os.Exit(1)
	}
}

// serve tells where the server is, and waits until it is to end.
func serve(address, made, namespace, listen string) error {
	if namespace != "" {
		if err := register(address, namespace); err != nil {
			return err
		}
		made = namespace
	}
	if listen == "" {
		fmt.Println(address, made)
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() }) // which ends the loop below
	fmt.Println(listener.Addr(), made)
	for {
		connection, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go forward(connection, address)
	}
}

// forward passes a connection on to the server, which knows loopback alone.
func forward(connection net.Conn, address string) {
	defer func() { _ = connection.Close() }() // nothing is buffered
	server, err := net.Dial("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "temporalserver:", err)
		return
	}
	defer func() { _ = server.Close() }() // likewise
	go func() {
		defer func() { _ = connection.Close() }() // likewise
		_, _ = io.Copy(connection, server)        // how a connection ends is its two sides' business
	}()
	_, _ = io.Copy(server, connection) // likewise
}

// register makes a namespace, and waits until it can be used.
func register(address, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	namespaces, err := client.NewNamespaceClient(options(address, ""))
	if err != nil {
		return err
	}
	defer namespaces.Close()
	err = namespaces.Register(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace: name, WorkflowExecutionRetentionPeriod: durationpb.New(retention),
	})
	if exists := (*serviceerror.NamespaceAlreadyExists)(nil); err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("make namespace %s: %w", name, err)
	}
	return await(ctx, address, name)
}

// await asks until the server knows a namespace in all of its parts, whose caches
// take some seconds.
func await(ctx context.Context, address, name string) error {
	user, err := client.DialContext(ctx, options(address, name))
	if err != nil {
		return err
	}
	defer user.Close()
	for {
		_, err := user.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Namespace: name})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("use namespace %s: %w", name, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func options(address, namespace string) client.Options {
	return client.Options{
		HostPort: address, Namespace: namespace,
		Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)), // errors are returned
	}
}
