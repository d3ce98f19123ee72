// Package conformance states what a task does to its client, as cases that every orchestration mode must pass alike,
// wherever Graf runs. Only tests import it.
package conformance

import (
	"net/http"
	"time"

	"github.com/graf-run/graf/shared/api"
)

// Target is Graf as a client sees it, and the mode under test.
type Target struct {
	// Client makes the calls. It has no time-out of its own: streams stay open.
	Client *http.Client
	// Submit, Callback and Memory are the base URLs of these functions, which may be one.
	Submit, Callback, Memory string
	// Token is an API token of a caller who may run tasks in this mode.
	Token string
	// Mode is what runs the tasks.
	Mode api.OrchestrationMode
	// Kind is the kind of the resource that runs an attempt: Job or Workflow.
	Kind string
	// Agent is an agent that runs e2e/cmd/e2e-agent with these arguments.
	Agent func(arguments ...string) api.Agent
	// Patience bounds every wait.
	Patience time.Duration
}
