// Command callback serves Graf's callback function.
package main

import (
	"fmt"
	"os"

	"knative.dev/func-go/http"

	"github.com/graf-run/graf/functions/callback"
)

func main() {
	if err := http.Start(callback.New()); err != nil {
		fmt.Fprintln(os.Stderr, "callback:", err)
		os.Exit(1)
	}
}
