// Command trivial is the least that can be made of func-go: graf-measure holds
// Graf's functions against it. It answers an event of one type with an event of
// another, counts events of that other type, and answers all else with nothing.
// As "trivial nothing" it ends at once: an agent without any work.
package main

import (
	"fmt"
	"os"

	"knative.dev/func-go/http"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "nothing" {
		return
	}
	http.SetLogLevel(http.LogWarn) // as Graf's functions do
	if err := http.Start(newCounter()); err != nil {
		fmt.Fprintln(os.Stderr, "trivial:", err)
		os.Exit(1)
	}
}
