// Command embed serves Graf's embed function.
package main

import (
	"fmt"
	"os"

	"knative.dev/func-go/http"

	"github.com/graf-run/graf/functions/embed"
)

func main() {
	if err := http.Start(embed.New()); err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		os.Exit(1)
	}
}
