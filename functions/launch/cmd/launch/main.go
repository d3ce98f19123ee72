// Command launch serves Graf's launch function.
package main

import (
	"fmt"
	"os"

	"knative.dev/func-go/http"

	"github.com/graf-run/graf/functions/launch"
)

func main() {
	if err := http.Start(launch.New()); err != nil {
		fmt.Fprintln(os.Stderr, "launch:", err)
		os.Exit(1)
	}
}
