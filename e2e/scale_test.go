//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// functionLabel tells whose pod it is.
const functionLabel = "serving.knative.dev/service"

// scale is how many pods each function has, and had at most.
type scale struct {
	mu        sync.Mutex
	now, most map[string]int
}

// watchScale counts pods until the test ends.
func (s *system) watchScale(t *testing.T) *scale {
	t.Helper()
	sc := &scale{now: map[string]int{}, most: map[string]int{}}
	var done sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
	done.Go(func() {
		tick := time.NewTicker(glance)
		defer tick.Stop()
		for ctx.Err() == nil {
			sc.look(ctx, s)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return sc
}

func (sc *scale) look(ctx context.Context, s *system) {
	list, err := s.cluster.Resource(pods).Namespace(graf).List(ctx, metav1.ListOptions{LabelSelector: functionLabel})
	if err != nil {
		return // the next look will tell
	}
	now := map[string]int{}
	for _, pod := range list.Items {
		now[strings.TrimPrefix(pod.GetLabels()[functionLabel], "graf-")]++
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.now = now
	for name, count := range now {
		sc.most[name] = max(sc.most[name], count)
	}
}

// seen are the functions that had a pod, and the most that each had.
func (sc *scale) seen() map[string]int {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return maps.Clone(sc.most)
}

// awaitZero waits until no function has a pod.
func (s *system) awaitZero(t *testing.T) {
	t.Helper()
	var left []string
	defer func() {
		if t.Failed() {
			t.Logf("pods that are left: %v", left)
		}
	}()
	eventually(t, "all functions are at zero pods", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		list, err := s.cluster.Resource(pods).Namespace(graf).List(ctx, metav1.ListOptions{LabelSelector: functionLabel})
		if err != nil {
			return false
		}
		left = nil
		for _, pod := range list.Items {
			left = append(left, pod.GetName())
		}
		return len(left) == 0
	})
}

// diagnose logs what helps to understand a failure.
func (s *system) diagnose(t *testing.T) {
	t.Helper()
	if !t.Failed() {
		return
	}
	for _, namespace := range []string{graf, tests} {
		for _, pod := range s.podsOf(t, namespace, "") {
			phase, _, _ := nested(pod.Object, "status", "phase")
			t.Logf("pod %s/%s: %s", namespace, pod.GetName(), phase)
		}
	}
	rows, err := s.pool.Query(within(t), `SELECT id::text || ' ' || status || ' attempt ' || attempt || ' ' || left(prompt, 60) || ' ' || coalesce(failure_reason, '')
FROM codex_tasks WHERE created_at > $1 ORDER BY id DESC LIMIT 50`, s.started)
	if err != nil {
		t.Logf("tasks: %v", err)
		return
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if rows.Scan(&line) == nil {
			t.Logf("task %s", line)
		}
	}
}

// nested is a part of an object as text.
func nested(o object, path ...string) (text string, found bool, err error) {
	var value any = o
	for _, name := range path {
		fields, ok := value.(object)
		if !ok {
			return "", false, nil
		}
		value = fields[name]
	}
	return fmt.Sprint(value), value != nil, nil
}
