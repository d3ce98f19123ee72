package submit_test

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/eventtest"
)

func (w *world) cancel(id, body string, status int) api.TaskStatus {
	w.t.Helper()
	res := w.call(http.MethodPost, "/v1/codex/tasks/"+id+"/cancel", body, status, nil)
	if status != http.StatusAccepted {
		return ""
	}
	var cancelled api.TaskCancelled
	if err := json.NewDecoder(res.Body).Decode(&cancelled); err != nil {
		w.t.Fatal(err)
	}
	return cancelled.Status
}

func TestCancelQueued(t *testing.T) {
	t.Parallel()
	w := setup(t)
	id := w.submit(minimal, http.StatusCreated).TaskID.String()
	for range 2 {
		if status := w.cancel(id, `{"reason":"not needed any more"}`, http.StatusAccepted); status != api.TaskStatusCancelled {
			t.Errorf("status %s, want cancelled", status)
		}
	}
	w.sink.Wait(w.context, t, id, 2)
	events := w.sink.About(id)
	if len(events) != 2 {
		t.Fatalf("%d events, want task.submitted and one task.finished", len(events))
	}
	eventtest.Golden(t, "task.finished.cancelled", events[1])
	task := w.get(id)
	if task.FinishedAt == nil || task.CancelRequestedAt == nil || task.Failure == nil || task.Failure.Class != api.FailureClassCancelled {
		t.Errorf("task = %+v", task)
	}
	if n := w.count(`SELECT count(*) FROM codex_task_transitions WHERE task_id = $1 AND from_status = 'queued'
		AND to_status = 'cancelled' AND actor = 'graf/submit' AND reason LIKE '%not needed any more'`, id); n != 1 {
		t.Errorf("the audit has the step %d times, want once with its reason", n)
	}
}

func TestCancelUnderWay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		steps  []string
		status api.TaskStatus
		events []string
	}{
		{"launching", []string{"launching"}, api.TaskStatusLaunching, []string{event.TypeTaskCancelRequested}},
		{"running", []string{"launching", "running"}, api.TaskStatusRunning, []string{event.TypeTaskCancelRequested}},
		{"finalizing", []string{"launching", "running", "finalizing"}, api.TaskStatusFinalizing, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			id := w.submit(minimal, http.StatusCreated).TaskID.String()
			w.move(id, test.steps...)
			for range 2 {
				if status := w.cancel(id, `{"reason":"wrong cluster"}`, http.StatusAccepted); status != test.status {
					t.Errorf("status %s, want %s", status, test.status)
				}
			}
			events := w.sink.Wait(w.context, t, id, 1+len(test.events))[1:]
			if len(events) != len(test.events) {
				t.Fatalf("%d events, want %v", len(events), test.events)
			}
			for _, e := range events {
				eventtest.Golden(t, "task.cancel_requested", e)
			}
			if n := w.count(`SELECT count(*) FROM codex_tasks WHERE id = $1 AND cancel_requested_by = 'ci'
				AND cancel_requested_at IS NOT NULL AND cancel_reason = 'wrong cluster'`, id); n != 1 {
				t.Error("the task is not marked as to be cancelled")
			}
		})
	}
}

func TestCancelAfterTheEnd(t *testing.T) {
	t.Parallel()
	tests := []struct {
		end    string
		status int
	}{
		{"succeeded", http.StatusConflict},
		{"failed", http.StatusConflict},
		{"timed_out", http.StatusConflict},
		{"cancelled", http.StatusAccepted},
	}
	w := setup(t)
	for _, test := range tests {
		id := w.submit(minimal, http.StatusCreated).TaskID.String()
		w.move(id, "launching", "running", "finalizing", test.end)
		w.cancel(id, "", test.status)
		if n := len(w.sink.Wait(w.context, t, id, 1)); n != 1 {
			t.Errorf("%s: %d events, want task.submitted alone", test.end, n)
		}
	}
}

// Whichever comes first, launch or cancel: the task is cancelled or marked, and
// one event says so.
func TestCancelWhileLaunching(t *testing.T) {
	t.Parallel()
	w := setup(t)
	id := w.submit(minimal, http.StatusCreated).TaskID.String()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := w.pool.Exec(w.context,
			"UPDATE codex_tasks SET status = 'launching', updated_by = 'test' WHERE id = $1 AND status = 'queued'", id); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if res := w.request(http.MethodPost, "/v1/codex/tasks/"+id+"/cancel", testToken, ""); res.StatusCode != http.StatusAccepted {
			t.Errorf("status %d, want 202", res.StatusCode)
		}
	})
	wg.Wait()
	events := w.sink.Wait(w.context, t, id, 2)
	want := event.TypeTaskFinished
	if w.get(id).Status == api.TaskStatusLaunching {
		want = event.TypeTaskCancelRequested
	}
	if len(events) != 2 || events[1].Type() != want {
		t.Errorf("events %v, want %s last", events, want)
	}
}
