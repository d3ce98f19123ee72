//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// victim is something that is killed while tasks are under way.
type victim struct {
	name string
	// namespace and selector tell which pods, of which each is killed.
	namespace, selector string
	// kill is for what is no pod.
	kill func(*testing.T)
}

func (s *system) victims() []victim {
	var all []victim
	for _, name := range functionNames {
		all = append(all, victim{name: name, namespace: graf, selector: functionLabel + "=graf-" + name})
	}
	for _, name := range []string{"broker-filter", "broker-ingress", "imc-dispatcher"} {
		all = append(all, victim{name: name, namespace: "knative-eventing", selector: "app.kubernetes.io/component=" + name})
	}
	return append(all, victim{name: "redis", kill: s.killRedis}, victim{name: "postgres", kill: s.killPostgres})
}

// TestFaults kills each part in turn while tasks run and arrive, and awaits the
// end of all of them: what an event that is lost would have done, the next tick does.
func TestFaults(t *testing.T) {
	s := newSystem(t)
	gates := s.newGates(t)
	var ids []uuid.UUID
	for _, v := range s.victims() {
		began := time.Now()
		ids = append(ids, s.outlive(t, v, gates)...)
		t.Logf("%s: killed and back in %v", v.name, time.Since(began).Round(time.Millisecond))
	}
	began := time.Now()
	s.awaitEnds(t, ids...)
	t.Logf("all %d tasks ended %v later", len(ids), time.Since(began).Round(time.Second))
	s.checkSteps(t, "succeeded", ids...)
	s.checkNothingLeft(t)
}

// outlive has two agents wait, kills the victim as they go on, submits another
// task at once, and returns when the victim is back.
func (s *system) outlive(t *testing.T, v victim, gates *gates) []uuid.UUID {
	t.Helper()
	var ids []uuid.UUID
	for i := range 2 {
		submission := s.working(t, fmt.Sprintf("Task %d that runs as %s is killed.", i, v.name), gates.at(v.name))
		ids = append(ids, s.submit(t, submission).TaskID)
	}
	for _, id := range ids {
		s.awaitPod(t, id)
	}
	gone := s.wake(t, v, ids[0])
	gates.unlock(v.name)
	if v.kill != nil {
		v.kill(t)
	} else {
		s.killPods(t, v, gone)
	}
	ids = append(ids, s.submit(t, s.working(t, "Task that arrives as "+v.name+" is killed.", "")).TaskID)
	s.awaitBack(t, v, gone)
	return ids
}

// wake sees to it that the victim has a pod, and gives the names of its pods.
func (s *system) wake(t *testing.T, v victim, task uuid.UUID) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	if v.kill != nil {
		return names
	}
	if v.name == "memory" {
		s.recall(t, task)
	}
	eventually(t, v.name+" has a pod", func() bool {
		for _, pod := range s.podsOf(t, v.namespace, v.selector) {
			if phase, _, _ := nested(pod.Object, "status", "phase"); phase == "Running" && pod.GetDeletionTimestamp() == nil {
				names[pod.GetName()] = true
			}
		}
		return len(names) > 0
	})
	return names
}

// killPods kills them at once, without the time to end what they do.
func (s *system) killPods(t *testing.T, v victim, names map[string]bool) {
	t.Helper()
	now := int64(0)
	for name := range names {
		must(t, s.cluster.Resource(pods).Namespace(v.namespace).Delete(within(t), name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
	}
}

// awaitBack waits until the victim works again. A function has a pod when there is
// something to do.
func (s *system) awaitBack(t *testing.T, v victim, gone map[string]bool) {
	t.Helper()
	eventually(t, v.name+" is back", func() bool {
		switch {
		case v.namespace == graf:
			return true
		case v.name == "redis":
			return s.redis.Ping(within(t)).Err() == nil
		case v.name == "postgres":
			return s.pool.Ping(within(t)) == nil
		}
		for _, pod := range s.podsOf(t, v.namespace, v.selector) {
			if !gone[pod.GetName()] && ready(&pod) {
				return true
			}
		}
		return false
	})
}

// killRedis has it end without saving anything; it is started again, empty or not.
func (s *system) killRedis(t *testing.T) {
	t.Helper()
	before := s.redisRun(t)
	_ = s.redis.ShutdownNoSave(within(t)).Err() // the connection breaks: that is no failure
	eventually(t, "Redis runs anew", func() bool {
		now := s.redisRun(t)
		return now != "" && now != before
	})
}

// redisRun is the id of the server's run, "" while there is none.
func (s *system) redisRun(t *testing.T) string {
	t.Helper()
	info, err := s.redis.Info(within(t), "server").Result()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(info) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "run_id:"); ok {
			return id
		}
	}
	return ""
}

// killPostgres kills the server's first process, whose id its data folder tells.
// So the server must be on this machine, as that of this repository's cluster is.
func (s *system) killPostgres(t *testing.T) {
	t.Helper()
	var folder string
	var before time.Time
	must(t, s.pool.QueryRow(within(t), `SELECT current_setting('data_directory'), pg_postmaster_start_time()`).Scan(&folder, &before))
	text, err := os.ReadFile(filepath.Join(folder, "postmaster.pid"))
	must(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	id, err := strconv.Atoi(strings.TrimSpace(first))
	must(t, err)
	must(t, syscall.Kill(id, syscall.SIGQUIT)) // ends at once and recovers at its next start
	eventually(t, "Postgres runs anew", func() bool {
		var now time.Time
		err := s.pool.QueryRow(within(t), `SELECT pg_postmaster_start_time()`).Scan(&now)
		return err == nil && now.After(before)
	})
}
