package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// counted tasks tell how many events a task makes.
	counted = 10
	// quiet is how long no event has come when all have.
	quiet = 5 * time.Second
)

// recorder keeps the types and subjects of the events that a Trigger sends it.
type recorder struct {
	mu     sync.Mutex
	events [][2]string
}

// ServeHTTP implements http.Handler.
func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.events = append(rec.events, [2]string{r.Header.Get("Ce-Type"), r.Header.Get("Ce-Subject")})
	w.WriteHeader(http.StatusNoContent)
}

// about counts the events about the tasks and their Jobs, whose names have the
// tasks' ids in them, by type. Others may use the Broker, too.
func (rec *recorder) about(tasks []uuid.UUID) (counts map[string]int, all int) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	counts = map[string]int{}
	for _, e := range rec.events {
		if slices.ContainsFunc(tasks, func(id uuid.UUID) bool { return strings.Contains(e[1], id.String()) }) {
			counts[e[0]]++
			all++
		}
	}
	return counts, all
}

// countEvents runs a few tasks with a Trigger that has everything, and reports how
// many events passed the Broker for each.
func (e *environment) countEvents(ctx context.Context) error {
	rec := &recorder{}
	remove, err := e.record(ctx, rec)
	if err != nil {
		return err
	}
	tasks, err := e.runTasks(ctx, counted)
	if err == nil {
		err = rec.awaitQuiet(ctx, tasks)
	}
	if removed := remove(); err == nil {
		err = removed
	}
	if err != nil {
		return err
	}
	counts, all := rec.about(tasks)
	for _, typ := range slices.Sorted(maps.Keys(counts)) {
		e.report.add("events per task of type "+typ, "", float64(counts[typ])/counted, nil)
	}
	e.report.add(eventsPerTask, "", float64(all)/counted, nil)
	return nil
}

// awaitQuiet waits until no more events about the tasks come.
func (rec *recorder) awaitQuiet(ctx context.Context, tasks []uuid.UUID) error {
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	for last := -1; ; {
		_, now := rec.about(tasks)
		if now == last {
			return nil
		}
		last = now
		if err := await(ctx, tick); err != nil {
			return err
		}
	}
}

// record adds a Trigger of Graf's Broker that sends rec every event, until remove
// is called.
func (e *environment) record(ctx context.Context, rec *recorder) (remove func() error, err error) {
	address, err := e.cluster.address(ctx)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, fmt.Errorf("%w: set GRAF_E2E_ADDRESS to an address of this machine that pods can reach", err)
	}
	server := &http.Server{Handler: rec, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // until it is closed
	const name = "graf-measure"
	remove = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		defer func() { _ = server.Close() }()
		return e.cluster.Resource(triggers).Namespace(graf).Delete(ctx, name, metav1.DeleteOptions{})
	}
	err = e.create(ctx, triggers, object{
		"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": object{"name": name, "namespace": graf},
		"spec": object{"broker": "default", "subscriber": object{"uri": "http://" + listener.Addr().String()}},
	})
	if err != nil {
		_ = server.Close()
		return nil, err
	}
	if _, err := e.awaitReady(ctx, triggers, graf, name); err != nil {
		_ = remove() // the other error counts
		return nil, err
	}
	return remove, nil
}

// address is where a Broker takes events.
func address(broker *unstructured.Unstructured) (string, error) {
	url, _, err := unstructured.NestedString(broker.Object, "status", "address", "url")
	return url, err
}
