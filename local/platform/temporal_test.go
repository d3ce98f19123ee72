package platform

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/local/services"
	"github.com/graf-run/graf/shared/api"
)

// temporalServer is a real Temporal server of the test's own.
type temporalServer struct{ address, namespace string }

// startTemporal starts the program that make setup-test builds. It ends with its
// standard input.
func startTemporal(t *testing.T) temporalServer {
	t.Helper()
	cache, err := os.UserCacheDir()
	must(t, err)
	builds, err := filepath.Glob(filepath.Join(cache, "graf", "bin", "temporalserver-v*", "temporalserver"))
	if err != nil || len(builds) == 0 {
		t.Fatal("there is no Temporal server: run make setup-test")
	}
	slices.Sort(builds)
	cmd := exec.Command(builds[len(builds)-1])
	input, err := cmd.StdinPipe()
	must(t, err)
	output, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = input.Close()
		_ = cmd.Wait() // how it ends is of no matter
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	must(t, err)
	address, namespace, _ := strings.Cut(strings.TrimSpace(line), " ")
	return temporalServer{address, namespace}
}

// startOnTemporal starts a platform whose tasks Temporal runs. The sweep comes
// so rarely that it ends none of them, unless a tick is given.
func startOnTemporal(t *testing.T, tick time.Duration, settings ...string) *system {
	t.Helper()
	temporal := startTemporal(t)
	s := startWith(t, Config{
		Services:        services.Config{DataFolder: dataFolder(t), Dependencies: services.Local, Ephemeral: true},
		TemporalAddress: temporal.address, Tick: tick,
	}, append(settings, "GRAF_TEMPORAL_NAMESPACE="+temporal.namespace)...)
	s.mode = api.OrchestrationModeTemporal
	return s
}

// TestTemporal runs on Temporal what TestModes has not, and no sweep helps.
func TestTemporal(t *testing.T) {
	t.Parallel()
	s := startOnTemporal(t, time.Hour, "GRAF_SLOTS_PER_NAMESPACE=1", "GRAF_STREAM_POLL=1m",
		"GRAF_SLOTS_LAUNCH_LEASE=5m") // the sweep would renew one that is over
	for name, test := range map[string]func(*testing.T, *system){
		"a task is done and teaches the next": testTeaches,
		"a queued task is cancelled":          testCancelQueued,
		"a killed worker goes on":             testKilledWorker,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

func testKilledWorker(t *testing.T, s *system) {
	var tasks []uuid.UUID
	for n := range 5 {
		name := fmt.Sprintf("worker-crash-%d", n)
		tasks = append(tasks, s.submit(t, s.change(name, "Limit the memory of "+name+".", "200Mi", "", "")).TaskID)
		must(t, s.functions["worker"].kill())
		must(t, s.functions["worker"].waitReady(within(t)))
	}
	s.awaitEnds(t, tasks...)
	for _, id := range tasks {
		if task := s.awaitStatus(t, id, api.TaskStatusSucceeded); len(task.Attempts) != 1 {
			t.Errorf("task %s has %d attempts", id, len(task.Attempts))
		}
	}
}

// TestTemporalReplay needs the sweep, for the vectors of what an attempt that
// failed has taught.
func TestTemporalReplay(t *testing.T) {
	t.Parallel()
	testReplay(t, startOnTemporal(t, 0))
}

// TestTemporalOutage has Temporal away while a workflow waits for its Job's end, and
// another for its start. Both go on when it is back, and no sweep helps.
func TestTemporalOutage(t *testing.T) {
	t.Parallel()
	temporal := startTemporal(t)
	line := newLine(t, temporal.address)
	s := startWith(t, Config{
		Services:        services.Config{DataFolder: dataFolder(t), Dependencies: services.Local, Ephemeral: true},
		TemporalAddress: line.address, Tick: time.Hour,
	}, "GRAF_TEMPORAL_NAMESPACE="+temporal.namespace, "GRAF_SLOTS_LAUNCH_LEASE=5m") // the sweep would renew one that is over
	s.mode = api.OrchestrationModeTemporal
	running := s.submit(t, shell("End while Temporal is away.", waitForGate, "GATE", s.note("outage.gate"))).TaskID
	s.awaitStatus(t, running, api.TaskStatusRunning)
	line.cut()
	waiting := s.submit(t, shell("Begin while Temporal is away.", "true")).TaskID
	touch(t, s.note("outage.gate"))
	line.awaitAttempts(t, 5) // the worker has tried, and so have those who bring it events
	s.awaitStatus(t, running, api.TaskStatusRunning)
	line.restore()
	for _, id := range []uuid.UUID{running, waiting} {
		if task := s.awaitStatus(t, id, api.TaskStatusSucceeded); len(task.Attempts) != 1 {
			t.Errorf("task %s has %d attempts", id, len(task.Attempts))
		}
	}
}

// TestTemporalAway takes the worker away for good while a Job runs: the sweep
// ends the task.
func TestTemporalAway(t *testing.T) {
	t.Parallel()
	s := startOnTemporal(t, 0)
	created := s.submit(t, shell("End while nobody hears.", waitForGate, "GATE", s.note("away.gate")))
	s.awaitStatus(t, created.TaskID, api.TaskStatusRunning)
	must(t, s.functions["worker"].stop(within(t)))
	touch(t, s.note("away.gate"))
	s.awaitStatus(t, created.TaskID, api.TaskStatusSucceeded)
}
