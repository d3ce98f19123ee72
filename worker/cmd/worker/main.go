// Command worker serves Graf's Temporal worker.
package main

import (
	"fmt"
	"os"

	"knative.dev/func-go/http"

	"github.com/graf-run/graf/worker"
)

func main() {
	if err := http.Start(worker.New()); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}
