// Command temporalserver runs a Temporal server for tests: all services in one
// process, on a free port of the loopback interface, with SQLite in memory. It
// prints its address and its namespace, and ends when its standard input does,
// so that no test leaves one behind.
package main

import (
	"fmt"
	"io"
	"os"

	"go.temporal.io/server/temporaltest"
)

func main() {
	server := temporaltest.NewServer()
	fmt.Println(server.GetFrontendHostPort(), server.GetDefaultNamespace())
	_, err := io.Copy(io.Discard, os.Stdin)
	server.Stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "temporalserver: standard input:", err)
		os.Exit(1)
	}
}
