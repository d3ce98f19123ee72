package api

import "strings"

// ReservedVariable says whether an environment variable belongs to the container
// contract, so that agent.env cannot set it.
func ReservedVariable(name string) bool {
	return strings.HasPrefix(name, "GRAF_") || name == "TRACEPARENT"
}
