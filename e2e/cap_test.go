//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/api"
)

// How TestCap loads Graf: tasks at a cap, and followers of each one's stream of
// events, more than one pod of callback takes.
const (
	capacity  = 5
	tasks     = 40
	followers = 4
)

// TestCap holds forty tasks to five slots, in the order of their priorities,
// while functions scale out and back to zero.
func TestCap(t *testing.T) {
	s := newSystem(t)
	s.withSetting(t, "launch", "GRAF_SLOTS_GLOBAL", fmt.Sprint(capacity))
	s.awaitZero(t)
	scale := s.watchScale(t)
	gates := s.newGates(t)
	var ids []uuid.UUID
	priorities := make([]int, tasks)
	submit := func(priority int) {
		submission := s.working(t, fmt.Sprintf("Task %d of priority %d.", len(ids), priority), gates.at("all"))
		submission.Priority = &priority
		priorities[len(ids)] = priority
		ids = append(ids, s.submit(t, submission).TaskID)
	}
	for range capacity {
		submit(5)
	}
	s.awaitCount(t, ids, capacity, "running")
	for i := range tasks - capacity {
		submit(i % 10)
	}
	eventually(t, "the others wait for a slot", func() bool {
		_, waiting, err := s.slots(t).Count(within(t))
		return err == nil && waiting == tasks-capacity
	})
	streams := s.followAll(t, ids)
	eventually(t, "callback scales out", func() bool { return scale.seen()["callback"] > 1 })
	began := time.Now()
	gates.unlock("all")
	s.awaitEnds(t, ids...)
	t.Logf("%d tasks in %v at a cap of %d; most pods: %v", tasks, time.Since(began).Round(time.Second), capacity, scale.seen())
	streams(t)
	s.checkSteps(t, "succeeded", ids...)
	s.checkCap(t, ids)
	s.checkOrder(t, ids, priorities)
	s.checkNothingLeft(t)
	idle := time.Now()
	s.awaitZero(t)
	t.Logf("all functions at zero %v later", time.Since(idle).Round(time.Second))
}

// withSetting gives a function another setting until the test ends. It also
// removes the mark of what was deployed, so that make deploy mends what a test
// leaves that is cut off.
func (s *system) withSetting(t *testing.T, function, name, value string) {
	t.Helper()
	const digest = "graf.dev/digest"
	var old *unstructured.Unstructured
	s.change(t, functions, graf, "graf-"+function, func(o *unstructured.Unstructured) {
		old = o.DeepCopy()
		annotations := o.GetAnnotations()
		delete(annotations, digest)
		o.SetAnnotations(annotations)
		setEnvironment(t, o, name, value)
	})
	t.Cleanup(func() {
		s.change(t, functions, graf, "graf-"+function, func(o *unstructured.Unstructured) {
			o.Object["spec"] = old.Object["spec"]
			o.SetAnnotations(old.GetAnnotations())
		})
		s.awaitReady(t, functions, graf, "graf-"+function)
	})
	s.awaitReady(t, functions, graf, "graf-"+function)
}

func setEnvironment(t *testing.T, o *unstructured.Unstructured, name, value string) {
	t.Helper()
	path := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(o.Object, path...)
	must(t, err)
	container, ok := containers[0].(object)
	if !ok {
		t.Fatalf("container: %v", containers[0])
	}
	environment, _, err := unstructured.NestedSlice(container, "env")
	must(t, err)
	container["env"] = append(environment, object{"name": name, "value": value})
	must(t, unstructured.SetNestedSlice(o.Object, containers, path...))
}

// followAll follows every task several times at once. What it returns waits for
// all streams to end and checks them.
func (s *system) followAll(t *testing.T, ids []uuid.UUID) func(*testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	var following sync.WaitGroup
	var mu sync.Mutex
	var problems []string
	for _, id := range ids {
		for range followers {
			following.Go(func() {
				events, err := s.follow(ctx, id)
				events = slices.DeleteFunc(events, func(e api.TaskEvent) bool {
					return e.EventType == api.EventTypeResource // finalize's, of a pod that it saw run
				})
				mu.Lock()
				defer mu.Unlock()
				if err != nil || len(events) != 2 {
					problems = append(problems, fmt.Sprintf("task %s: %d events, %v", id, len(events), err))
				}
			})
		}
	}
	return func(t *testing.T) {
		t.Helper()
		following.Wait()
		if len(problems) > 0 {
			t.Errorf("%d of %d streams: %v", len(problems), len(ids)*followers, problems[0])
		}
	}
}

// checkCap fails if the audit shows more of the tasks at once than the cap.
func (s *system) checkCap(t *testing.T, ids []uuid.UUID) {
	t.Helper()
	active, most := map[uuid.UUID]bool{}, 0
	for _, step := range s.steps(t, ids...) {
		if slices.Contains([]string{"launching", "running", "finalizing"}, step.To) {
			active[step.Task] = true
		} else {
			delete(active, step.Task)
		}
		most = max(most, len(active))
	}
	if most != capacity {
		t.Errorf("%d tasks were active at once, the cap is %d", most, capacity)
	}
}

// checkOrder fails unless the tasks were launched by priority, then age. Slots
// that get free together are filled together, in any order: so a task may be as
// far from its place as there are slots.
func (s *system) checkOrder(t *testing.T, ids []uuid.UUID, priorities []int) {
	t.Helper()
	order := make([]int, len(ids)-capacity)
	for i := range order {
		order[i] = i + capacity
	}
	slices.SortStableFunc(order, func(a, b int) int { return priorities[b] - priorities[a] })
	var launched []int
	for _, step := range s.steps(t, ids...) {
		if n := slices.Index(ids, step.Task); step.To == "launching" && n >= capacity {
			launched = append(launched, n)
		}
	}
	for place, n := range launched {
		if due := slices.Index(order, n); due-place >= capacity || place-due >= capacity {
			t.Errorf("task %d of priority %d was launched at place %d, not %d; launched: %v", n, priorities[n], place, due, launched)
		}
	}
}
