//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/shared/api"
)

// load calls functions again and again, as an impatient client: whatever is not
// answered as it should be, the first time, is a failure.
type load struct {
	mu       sync.Mutex
	answered map[string]int
	failures []string
	tasks    []uuid.UUID
}

func (l *load) note(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answered[what]++
	if err != nil {
		l.failures = append(l.failures, what+": "+err.Error())
	}
}

// TestRollout brings every function to a new revision, and back, while requests
// and events come: none fails.
func TestRollout(t *testing.T) {
	s := newSystem(t)
	task := s.submit(t, s.working(t, "Be asked for while functions are updated.", "")).TaskID
	s.awaitStatus(t, task, api.TaskStatusSucceeded)
	l := &load{answered: map[string]int{}}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	var running sync.WaitGroup
	path := "/v1/codex/tasks/" + task.String()
	for what, every := range map[string]struct {
		pause time.Duration
		do    func(context.Context) error
	}{
		"show":   {50 * time.Millisecond, func(ctx context.Context) error { return s.get(ctx, s.urls["submit"]+path) }},
		"events": {50 * time.Millisecond, func(ctx context.Context) error { return s.get(ctx, s.urls["callback"]+path+"/events?limit=2") }},
		"memory": {100 * time.Millisecond, func(ctx context.Context) error { return s.get(ctx, s.urls["memory"]+path+"/memory") }},
		"submit": {2 * time.Second, func(ctx context.Context) error { return s.submitOnce(ctx, t, l) }},
	} {
		running.Go(func() { repeat(ctx, every.pause, func() { l.note(what, every.do(ctx)) }) })
	}
	for _, round := range []string{s.run, ""} {
		for _, name := range functionNames {
			began := time.Now()
			s.roll(t, "graf-"+name, round)
			t.Logf("%s rolled in %v", name, time.Since(began).Round(time.Millisecond))
		}
	}
	stop()
	running.Wait()
	s.awaitEnds(t, l.tasks...)
	s.checkSteps(t, "succeeded", l.tasks...)
	t.Logf("answered: %v", l.answered)
	if len(l.failures) > 0 {
		t.Errorf("%d requests failed: %q", len(l.failures), l.failures[:min(10, len(l.failures))])
	}
	s.checkNothingLeft(t)
}

// repeat does something until ctx ends, at this pace or as fast as it goes.
func repeat(ctx context.Context, pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// get makes one request. One that the end of the load cuts off is no failure.
func (s *system) get(ctx context.Context, url string) error {
	response, err := s.request(context.WithoutCancel(ctx), http.MethodGet, url, s.token, nil)
	return expect(response, err, http.StatusOK)
}

func expect(response *http.Response, err error, status int) error {
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != status {
		err = fmt.Errorf("%s: %.200s", response.Status, body)
	}
	return err
}

// submitOnce submits a task whose agent is as impatient.
func (s *system) submitOnce(ctx context.Context, t *testing.T, l *load) error {
	submission := s.working(t, "Run while functions are updated.", "")
	submission.Agent.Env["PATIENT"] = "false"
	key := uuid.NewString()
	response, err := s.request(context.WithoutCancel(ctx), http.MethodPost, s.urls["submit"]+"/v1/codex/tasks", s.token, submission, "Idempotency-Key", key)
	if err := expect(response, err, http.StatusCreated); err != nil {
		return err
	}
	var id uuid.UUID
	err = s.pool.QueryRow(context.WithoutCancel(ctx), `SELECT id FROM codex_tasks WHERE idempotency_key = $1`, key).Scan(&id)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tasks = append(l.tasks, id)
	return err
}

// roll brings a function to a new revision, which differs by a mark alone; "" is
// none.
func (s *system) roll(t *testing.T, name, mark string) {
	t.Helper()
	path := []string{"spec", "template", "metadata", "annotations"}
	var before string
	s.change(t, functions, graf, name, func(o *unstructured.Unstructured) {
		before, _, _ = nested(o.Object, "status", "latestReadyRevisionName")
		annotations, _, _ := unstructured.NestedMap(o.Object, path...)
		if annotations == nil {
			annotations = object{}
		}
		delete(annotations, "graf.dev/e2e")
		if mark != "" {
			annotations["graf.dev/e2e"] = mark
		}
		must(t, unstructured.SetNestedMap(o.Object, annotations, path...))
	})
	o := s.awaitReady(t, functions, graf, name)
	if now, _, _ := nested(o.Object, "status", "latestReadyRevisionName"); now == before {
		t.Errorf("%s is still at revision %s", name, now)
	}
}
