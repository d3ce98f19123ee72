package platform

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/local/services"
	"github.com/graf-run/graf/shared/api"
)

// TestKilledFunctions kills each function again and again while tasks go through.
func TestKilledFunctions(t *testing.T) {
	t.Parallel()
	s := startSystem(t)
	var tasks []uuid.UUID
	for n := range 20 {
		name := fmt.Sprintf("crash-%d", n)
		tasks = append(tasks, s.submit(t, s.change(name, "Limit the memory of "+name+".", "200Mi", "", "")).TaskID)
		must(t, s.functions[functionNames[n%len(functionNames)]].kill())
	}
	s.awaitEnds(t, tasks...)
	s.checkSteps(t, "succeeded", tasks...)
	for _, id := range tasks {
		task := s.awaitStatus(t, id, api.TaskStatusSucceeded)
		if len(task.Attempts) != 1 || len(task.Artifacts) != 1 || task.Diff == nil {
			t.Errorf("task %s has %d attempts, %d artifacts and the diff %v", id, len(task.Attempts), len(task.Artifacts), task.Diff)
		}
	}
	s.checkNothingLeft(t)
}

// outage is something that functions and agents need, and how it goes away.
type outage struct {
	name        string
	stop, start func(context.Context) error
}

func ofServer(name string, server services.Server) outage {
	return outage{name: name, stop: server.Stop, start: server.Start}
}

// TestOutages takes each server away while one agent works and another ends.
func TestOutages(t *testing.T) {
	t.Parallel()
	s := startSystem(t)
	model := outage{name: "model", stop: s.model.stop, start: s.model.start}
	textOnly := s.launchWithoutModel(t, model)
	tasks := []uuid.UUID{textOnly}
	for _, o := range []outage{
		ofServer("postgres", s.services.Postgres), ofServer("redis", s.services.Redis), ofServer("s3", s.services.S3), model,
	} {
		tasks = append(tasks, s.outlive(t, o)...)
	}
	s.checkSteps(t, "succeeded", tasks...)
	task := s.await(t, textOnly, "gets its vectors later", func(task api.Task) bool {
		return task.Embeddings.Prompt == api.EmbeddingStateReady
	})
	if task.Recall == nil || task.Recall.Mode != api.RecallModeTextOnly {
		t.Errorf("the vectors that came later changed how the task was recalled: %+v", task.Recall)
	}
	s.checkNothingLeft(t)
}

// launchWithoutModel launches a task while the embedding model is away: it goes
// on by full text and says so.
func (s *system) launchWithoutModel(t *testing.T, model outage) uuid.UUID {
	t.Helper()
	must(t, model.stop(within(t)))
	id := s.submit(t, shell("Go on without a vector.", "true")).TaskID
	task := s.awaitStatus(t, id, api.TaskStatusSucceeded)
	if task.Recall == nil || task.Recall.Mode != api.RecallModeTextOnly || task.Recall.Reason == "" {
		t.Errorf("recall: %+v", task.Recall)
	}
	if task.Embeddings.Prompt != api.EmbeddingStatePending {
		t.Errorf("the prompt's vector is %s", task.Embeddings.Prompt)
	}
	must(t, model.start(within(t)))
	return id
}

// outlive has one agent begin to work, another end, and a task submitted while
// something is away, and waits until all three have succeeded.
func (s *system) outlive(t *testing.T, o outage) []uuid.UUID {
	t.Helper()
	beginning, ending, arriving := o.name+"-begins", o.name+"-ends", o.name+"-arrives"
	begins := s.submit(t, s.change(beginning, "Limit "+beginning+".", "200Mi",
		`touch "$NOTE.waits"; `+waitForGate+`; touch "$NOTE.works"`, "")).TaskID
	ends := s.submit(t, s.change(ending, "Limit "+ending+".", "200Mi", "", `touch "$NOTE.waits"; `+waitForGate)).TaskID
	for _, name := range []string{beginning, ending} {
		eventually(t, name+" runs", func() bool { return exists(s.note(name + ".waits")) })
	}
	s.awaitStatus(t, begins, api.TaskStatusRunning)
	s.awaitStatus(t, ends, api.TaskStatusRunning)

	must(t, o.stop(within(t)))
	touch(t, s.note(beginning+".gate"))
	touch(t, s.note(ending+".gate"))
	eventually(t, beginning+" works", func() bool { return exists(s.note(beginning + ".works")) })
	key := uuid.NewString()
	submission := s.change(arriving, "Limit "+arriving+".", "200Mi", "", "")
	var created api.TaskCreated
	s.call(t, http.MethodPost, "/v1/codex/tasks", submission, &created, "Idempotency-Key", key)
	s.awaitSufferance(t, o, ends)
	must(t, o.start(within(t)))

	eventually(t, "the submission is taken at last", func() bool {
		_, ok := s.call(t, http.MethodPost, "/v1/codex/tasks", submission, &created, "Idempotency-Key", key)
		return ok
	})
	tasks := []uuid.UUID{begins, ends, created.TaskID}
	s.awaitEnds(t, tasks...)
	for _, id := range tasks {
		task := s.awaitStatus(t, id, api.TaskStatusSucceeded)
		if len(task.Attempts) != 1 || len(task.Artifacts) != 1 || task.Diff == nil {
			t.Errorf("%s away: task %s has %d attempts, %d artifacts and the diff %v", o.name, id, len(task.Attempts), len(task.Artifacts), task.Diff)
		}
	}
	return tasks
}

// awaitSufferance waits until the outage shows where it must.
func (s *system) awaitSufferance(t *testing.T, o outage, ends uuid.UUID) {
	t.Helper()
	switch o.name {
	case "postgres":
		eventually(t, "the end of an agent cannot be delivered", func() bool { return s.broker.Undelivered() > 0 })
		status, ok := s.call(t, http.MethodGet, "/v1/codex/tasks/"+ends.String(), nil, &api.Task{})
		if ok {
			t.Errorf("a task is shown, with status %d, while Postgres is away", status)
		}
	case "s3":
		// Its artifact cannot be checked: it waits rather than end without.
		s.awaitStatus(t, ends, api.TaskStatusFinalizing)
	default:
		s.awaitStatus(t, ends, api.TaskStatusSucceeded)
	}
}
