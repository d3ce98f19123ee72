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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// counted tasks tell how many events a task makes.
	counted = 10
	// quiet is how long no event has come when all have.
	quiet = 5 * time.Second
)

// recorder counts the events that a Trigger sends it, by type.
type recorder struct {
	mu     sync.Mutex
	counts map[string]int
	more   chan struct{} // has room for one
}

// ServeHTTP implements http.Handler.
func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	typ := r.Header.Get("Ce-Type")
	// The tick is not the tasks' doing.
	if strings.HasPrefix(typ, "dev.graf.codex.task.") || strings.HasPrefix(typ, "dev.knative.apiserver.") {
		rec.mu.Lock()
		rec.counts[typ]++
		rec.mu.Unlock()
		select {
		case rec.more <- struct{}{}:
		default:
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// countEvents runs a few tasks with a Trigger that has everything, and reports how
// many events passed the Broker for each.
func (e *environment) countEvents(ctx context.Context) error {
	rec := &recorder{counts: map[string]int{}, more: make(chan struct{}, 1)}
	remove, err := e.record(ctx, rec)
	if err != nil {
		return err
	}
	_, err = e.runTasks(ctx, counted)
	if err == nil {
		err = rec.awaitQuiet(ctx)
	}
	if removed := remove(); err == nil {
		err = removed
	}
	if err != nil {
		return err
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	all := 0
	for _, typ := range slices.Sorted(maps.Keys(rec.counts)) {
		e.report.add("events per task of type "+typ, "", float64(rec.counts[typ])/counted, nil)
		all += rec.counts[typ]
	}
	e.report.add(eventsPerTask, "", float64(all)/counted, nil)
	return nil
}

func (rec *recorder) awaitQuiet(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-rec.more:
		case <-time.After(quiet):
			return nil
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
