// Command submit serves Graf's submit function.
package main

import (
	"fmt"
	"os"

	"knative.dev/func-go/http"

	"github.com/graf-run/graf/functions/submit"
)

func main() {
	if err := http.Start(submit.New()); err != nil {
		fmt.Fprintln(os.Stderr, "submit:", err)
		os.Exit(1)
	}
}
