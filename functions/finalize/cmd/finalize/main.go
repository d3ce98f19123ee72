// Command finalize serves Graf's finalize function.
package main

import (
	"fmt"
	"os"

	"knative.dev/func-go/http"

	"github.com/graf-run/graf/functions/finalize"
)

func main() {
	if err := http.Start(finalize.New()); err != nil {
		fmt.Fprintln(os.Stderr, "finalize:", err)
		os.Exit(1)
	}
}
