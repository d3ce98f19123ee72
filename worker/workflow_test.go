package worker

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
)

// steps stand where the activities do: each gives the next of its standings,
// the last one again and again.
type steps struct {
	standings map[string][]Standing
	done      []string
	err       error // of FinalizeTask
}

func (s *steps) register(env *testsuite.TestWorkflowEnvironment) {
	for _, name := range []string{"PrepareTaskContext", "LaunchExecution", "ObserveExecution", "FinalizeTask"} {
		env.RegisterActivityWithOptions(func(context.Context, Attempt) (Standing, error) {
			s.done = append(s.done, name)
			if name == "FinalizeTask" && s.err != nil {
				return Standing{}, s.err
			}
			given := s.standings[name]
			if len(given) > 1 {
				s.standings[name] = given[1:]
			}
			return given[0], nil
		}, activity.RegisterOptions{Name: name})
	}
}

// signal is a signal so long after the start.
type signal struct {
	after time.Duration
	name  string
}

var began = time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)

func at(stage string) []Standing { return []Standing{{Stage: stage}} }

// running is what a launched attempt stands at, whose deadline and grace period
// end after ten minutes.
var running = Standing{Stage: StageRunning, LookAt: began.Add(10 * time.Minute)}

func TestWorkflow(t *testing.T) {
	t.Parallel()
	const p, l, o, f = "PrepareTaskContext", "LaunchExecution", "ObserveExecution", "FinalizeTask"
	for name, c := range map[string]struct {
		standings map[string][]Standing
		signals   []signal
		done      []string
		lasts     time.Duration
	}{
		"its Job ends": {
			map[string][]Standing{p: at(StageLaunching), l: {running}, o: at(StageFinalizing), f: at(StagePast)},
			[]signal{{time.Minute, SignalExecutionEnded}}, []string{p, l, o, f}, time.Minute,
		},
		"the report comes before the end": {
			map[string][]Standing{p: at(StageLaunching), l: {running}, o: {running, {Stage: StageFinalizing}}, f: at(StagePast)},
			[]signal{{time.Minute, SignalAgentReported}, {2 * time.Minute, SignalExecutionEnded}}, []string{p, l, o, o, f}, 2 * time.Minute,
		},
		"nobody tells of its end": {
			map[string][]Standing{p: at(StageLaunching), l: {running}, o: at(StageFinalizing), f: at(StagePast)},
			nil, []string{p, l, o, f}, 10 * time.Minute,
		},
		"it is overdue and looked at again": {
			map[string][]Standing{p: at(StageLaunching), l: {running}, o: {running, running, {Stage: StageFinalizing}}, f: at(StagePast)},
			nil, []string{p, l, o, o, o, f}, 10*time.Minute + 2*lookAgain,
		},
		"another has ended it": {
			map[string][]Standing{p: at(StageLaunching), l: {running}, o: at(StagePast)},
			[]signal{{time.Minute, SignalTaskEnded}}, []string{p, l, o}, time.Minute,
		},
		"it ended while it was launched": {
			map[string][]Standing{p: at(StageLaunching), l: at(StageFinalizing), f: at(StagePast)},
			nil, []string{p, l, f}, 0,
		},
		"it cannot be launched": {
			map[string][]Standing{p: at(StageLaunching), l: at(StagePast)}, nil, []string{p, l}, 0,
		},
		"it was cancelled before": {
			map[string][]Standing{p: at(StagePast)}, nil, []string{p}, 0,
		},
		"its launch is put off": {
			map[string][]Standing{p: at(StageLaunching), l: {{Stage: StageLaunching}, {Stage: StageRunning, LookAt: began.Add(2 * time.Hour)}}, o: at(StageFinalizing), f: at(StagePast)},
			[]signal{{time.Hour, SignalExecutionRequested}, {61 * time.Minute, SignalExecutionEnded}}, []string{p, l, l, o, f}, 61 * time.Minute,
		},
		"it is cancelled while put off": {
			map[string][]Standing{p: at(StageLaunching), l: {{Stage: StageLaunching}, {Stage: StagePast}}},
			[]signal{{time.Minute, SignalTaskEnded}}, []string{p, l, l}, time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, stand := environment(c.standings)
			for _, s := range c.signals {
				env.RegisterDelayedCallback(func() { env.SignalWorkflow(s.name, nil) }, s.after)
			}
			env.ExecuteWorkflow(CodexTaskWorkflow, Attempt{TaskID: uuid.Must(uuid.NewV7()), Number: 1})
			if !env.IsWorkflowCompleted() || env.GetWorkflowError() != nil {
				t.Fatalf("completed %t, %v", env.IsWorkflowCompleted(), env.GetWorkflowError())
			}
			if diff := cmp.Diff(c.done, stand.done); diff != "" {
				t.Error(diff)
			}
			if lasted := env.Now().Sub(began).Round(time.Second); lasted != c.lasts {
				t.Errorf("it lasted %s, want %s", lasted, c.lasts)
			}
		})
	}
}

// environment runs a workflow with the given steps, in a time of its own.
func environment(standings map[string][]Standing) (*testsuite.TestWorkflowEnvironment, *steps) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetStartTime(began)
	stand := &steps{standings: standings}
	stand.register(env)
	return env, stand
}

// What may succeed later is tried again; what cannot is not.
func TestWorkflowErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   error
		tries int // at least
		fails bool
	}{
		"away":       {failure(errors.New("no route to host")), 3, false},
		"unreadable": {temporal.NewNonRetryableApplicationError("{", errorUnreadable, nil), 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, stand := environment(map[string][]Standing{
				"PrepareTaskContext": at(StageFinalizing), "FinalizeTask": at(StagePast),
			})
			stand.err = c.err
			env.RegisterDelayedCallback(func() { stand.err = nil }, 5*time.Second)
			env.ExecuteWorkflow(CodexTaskWorkflow, Attempt{TaskID: uuid.Must(uuid.NewV7()), Number: 1})
			if fails := env.GetWorkflowError() != nil; fails != c.fails {
				t.Errorf("the workflow's error is %v", env.GetWorkflowError())
			}
			tries := len(slices.DeleteFunc(stand.done, func(name string) bool { return name != "FinalizeTask" }))
			if tries < c.tries || (c.fails && tries != c.tries) {
				t.Errorf("%d tries, want %d", tries, c.tries)
			}
		})
	}
}
