package platform

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/redisdb"
)

// TestCap holds twelve tasks to two slots, and takes Redis its memory midway.
func TestCap(t *testing.T) {
	t.Parallel()
	s := startSystem(t, "GRAF_SLOTS_GLOBAL=2")
	var tasks []uuid.UUID
	submit := func(priority int) {
		n := len(tasks)
		submission := shell(fmt.Sprintf("Task %d of priority %d.", n, priority), waitForGate, "GATE", s.note(fmt.Sprint(n)))
		submission.Priority = &priority
		tasks = append(tasks, s.submit(t, submission).TaskID)
	}
	submit(5)
	submit(5)
	s.awaitStatus(t, tasks[0], api.TaskStatusRunning)
	s.awaitStatus(t, tasks[1], api.TaskStatusRunning)
	priorities := []int{3, 9, 0, 5, 9, 1, 7, 3, 5, 0}
	for _, priority := range priorities {
		submit(priority)
	}
	order := []int{0, 1}
	for priority := 9; priority >= 0; priority-- {
		for i, p := range priorities {
			if p == priority {
				order = append(order, i+2)
			}
		}
	}
	for i, n := range order {
		if i == 5 {
			s.wipeRedis(t)
		}
		touch(t, s.note(fmt.Sprint(n)))
		s.awaitStatus(t, tasks[n], api.TaskStatusSucceeded)
		if i+2 < len(order) {
			s.awaitStatus(t, tasks[order[i+2]], api.TaskStatusRunning)
		}
	}
	s.checkCap(t, 2)
	s.checkOrder(t, tasks, order)
	s.checkSteps(t, "succeeded", tasks...)
	s.checkNothingLeft(t)
}

func (s *system) wipeRedis(t *testing.T) {
	t.Helper()
	client, err := redisdb.Open(redisdb.Config{URL: s.services.Connection().RedisURL})
	must(t, err)
	defer func() { _ = client.Close() }()
	must(t, client.FlushAll(within(t)).Err())
}

// checkCap fails if the audit shows more tasks at once than most.
func (s *system) checkCap(t *testing.T, most int) {
	t.Helper()
	active := map[uuid.UUID]bool{}
	for _, step := range s.steps(t) {
		if slices.Contains([]string{"launching", "running", "finalizing"}, step.To) {
			active[step.Task] = true
		} else {
			delete(active, step.Task)
		}
		if len(active) > most {
			t.Errorf("%d tasks were active when task %s became %s", len(active), step.Task, step.To)
		}
	}
}

// checkOrder fails unless the tasks were launched in this order.
func (s *system) checkOrder(t *testing.T, tasks []uuid.UUID, order []int) {
	t.Helper()
	var launched []int
	for _, step := range s.steps(t) {
		if step.To == "launching" {
			launched = append(launched, slices.Index(tasks, step.Task))
		}
	}
	slices.Sort(launched[:2]) // both slots were free
	if !slices.Equal(launched, order) {
		t.Errorf("launched in the order %v, not %v", launched, order)
	}
}
