package platform

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/api/conformance"
	"github.com/graf-run/graf/shared/event"
)

// TestModes holds the modes that the platform has to the suite that a cluster passes, too. No sweep helps, and streams hear
// of events by notification.
func TestModes(t *testing.T) {
	t.Parallel()
	s := startOnTemporal(t, time.Hour, "GRAF_STREAM_POLL=1m",
		"GRAF_EXECUTION_GRACE_PERIOD=5s", // while the log of what is being stopped is read, as busy as it is here
		"GRAF_SLOTS_LAUNCH_LEASE=5m")     // the sweep would renew one that is over
	t.Run("modes", func(t *testing.T) {
		for _, mode := range []api.OrchestrationMode{api.OrchestrationModeDirect, api.OrchestrationModeTemporal} {
			t.Run(string(mode), func(t *testing.T) {
				t.Parallel()
				conformance.Run(t, s.target(mode))
			})
		}
	})
	for mode, tasks := range s.tasksByMode(t) {
		s.checkRequested(t, api.OrchestrationMode(mode), tasks)
	}
	s.checkNothingLeft(t)
}

func (s *system) target(mode api.OrchestrationMode) conformance.Target {
	return conformance.Target{
		Client: http.DefaultClient, Submit: s.URL(), Callback: s.URL(), Memory: s.URL(), Token: s.Token(),
		Mode: mode, Kind: "Job", Patience: patience,
		Agent: func(arguments ...string) api.Agent {
			return api.Agent{Kind: api.AgentKindCommand, Command: append([]string{"e2e-agent"}, arguments...)}
		},
	}
}

// tasksByMode are all tasks that there are.
func (s *system) tasksByMode(t *testing.T) map[string][]uuid.UUID {
	t.Helper()
	rows, err := s.pool.Query(within(t), `SELECT orchestration_mode, id FROM codex_tasks`)
	must(t, err)
	var mode string
	var id uuid.UUID
	tasks := map[string][]uuid.UUID{}
	_, err = pgx.ForEachRow(rows, []any{&mode, &id}, func() error {
		tasks[mode] = append(tasks[mode], id)
		return nil
	})
	must(t, err)
	return tasks
}

// checkRequested fails unless the executions of tasks on Temporal, and of no others, were requested.
func (s *system) checkRequested(t *testing.T, mode api.OrchestrationMode, tasks []uuid.UUID) {
	t.Helper()
	for _, id := range tasks {
		requested := false
		for _, e := range s.events.about(id.String()) {
			requested = requested || e.Type() == event.TypeExecutionRequested
		}
		if requested != (mode == api.OrchestrationModeTemporal) {
			t.Errorf("execution of task %s, of mode %s, was requested: %v", id, mode, requested)
		}
	}
}
