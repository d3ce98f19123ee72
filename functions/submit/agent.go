package submit

import (
	"maps"
	"slices"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/problem"
)

// checkAgent refuses what the document's schema lets through and no cluster could
// start.
func checkAgent(agent api.Agent) error {
	var fields []problem.FieldError
	if len(agent.Command) > 0 && agent.Command[0] == "" {
		fields = append(fields, problem.FieldError{Pointer: "/agent/command/0", Detail: "must name the program to run"})
	}
	for _, name := range slices.Sorted(maps.Keys(agent.Env)) {
		if api.ReservedVariable(name) {
			fields = append(fields, problem.FieldError{Pointer: "/agent/env/" + name,
				Detail: "is reserved for what Graf tells the agent (GRAF_…, TRACEPARENT): choose another name"})
		}
	}
	if len(fields) > 0 {
		return problem.ErrInvalid.Fields(fields...)
	}
	return nil
}
