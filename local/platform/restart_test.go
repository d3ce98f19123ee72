package platform

import (
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/local/services"
	"github.com/graf-run/graf/shared/api"
)

// TestRestart stops the platform while tasks run and wait and events are
// undelivered, and starts it again on the same data.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := startConfigured(t, lastingServices(t), "GRAF_SLOTS_GLOBAL=1")
	done := s.submit(t, s.change("done", "Be done before the restart.", "200Mi", "", "")).TaskID
	s.awaitStatus(t, done, api.TaskStatusSucceeded)
	// The process of a running agent ends with the platform: another attempt follows.
	submission := s.change("cut", "Be cut off by the restart.", "200Mi", `touch "$NOTE.waits"; `+waitForGate, "")
	submission.MaxAttempts = new(2)
	cut := s.submit(t, submission).TaskID
	eventually(t, "the agent runs", func() bool { return exists(s.note("cut.waits")) })
	s.awaitStatus(t, cut, api.TaskStatusRunning)
	waits := s.submit(t, s.change("waits", "Wait over the restart.", "200Mi", "", "")).TaskID

	must(t, s.functions["submit"].stop(within(t)))
	const prompt = "Come by an event that waits over the restart."
	refused := request(t, "/somebody/else", shell("Be refused after the restart.", "true"))
	s.send(t, request(t, "/local/cli", shell(prompt, "true")))
	s.send(t, refused)
	token := s.Token()
	s.stop(t)

	touch(t, s.note("cut.gate"))
	s.start(t)
	if s.Token() != token {
		t.Error("the API token is another one after the restart")
	}
	if code, reason := s.awaitLetter(t, refused); code != 403 {
		t.Errorf("the dead letter says %d %s", code, reason)
	}
	tasks := []uuid.UUID{done, cut, waits, s.taskOf(t, prompt)}
	s.awaitEnds(t, tasks...)
	s.checkSteps(t, "succeeded", tasks...)
	task := s.awaitStatus(t, cut, api.TaskStatusSucceeded)
	if len(task.Attempts) != 2 || task.Attempts[0].Failure == nil {
		t.Errorf("attempts of the task that was cut off: %+v", task.Attempts)
	} else if f := task.Attempts[0].Failure; f.Class != api.FailureClassInfrastructure {
		t.Errorf("the attempt that was cut off failed by %s: %s", f.Class, f.Reason)
	}
	checkDownload(t, s.awaitStatus(t, done, api.TaskStatusSucceeded).Artifacts[0])
	s.checkCap(t, 1)
}

// lastingServices keep their data, on ports of their own.
func lastingServices(t *testing.T) services.Config {
	t.Helper()
	config := services.Config{DataFolder: dataFolder(t), Dependencies: services.Local}
	for _, port := range []*int{&config.PostgresPort, &config.RedisPort, &config.S3Port} {
		var err error
		*port, err = services.FreePort()
		must(t, err)
	}
	return config
}
