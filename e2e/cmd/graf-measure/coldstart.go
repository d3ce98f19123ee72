package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// functionLabel tells whose pod it is.
const functionLabel = "serving.knative.dev/service"

// stages are what a cold start is made of, in their order.
var stages = []string{"pod", "image", "sidecar", "process"}

// start is one start from zero. Kubernetes' own times are in whole seconds, so
// these are of when the API server told of each step.
type start struct {
	asked    time.Time
	created  time.Time // the pod is there
	running  time.Time // the function's container was started
	sidecar  time.Time // Knative's, after it
	ready    time.Time // as the kubelet sees it; requests need not wait for it
	answered time.Time
	pod      string
}

func (s *start) complete() bool {
	return !s.created.IsZero() && !s.running.IsZero() && !s.sidecar.IsZero() && !s.ready.IsZero() && !s.answered.IsZero()
}

// lengths are those of the stages.
func (s *start) lengths() []time.Duration {
	return []time.Duration{s.created.Sub(s.asked), s.running.Sub(s.created), s.sidecar.Sub(s.running), s.answered.Sub(s.sidecar)}
}

// errWoken says that something else started the function: a tick, an event.
var errWoken = errors.New("the function was started by another")

// coldFunction is one that is started.
type coldFunction struct{ namespace, name string }

// measureColdStarts starts each function again and again from zero, in an order
// that differs from round to round, so that what else the machine does meets all
// alike, and each round at another moment of the kubelet's period.
func measureColdStarts(ctx context.Context, e *environment) error {
	all := []coldFunction{{own, trivial}}
	for _, name := range functionNames {
		all = append(all, coldFunction{graf, "graf-" + name})
	}
	for round := range e.options.colds {
		note("cold starts, round %d of %d", round+1, e.options.colds)
		order := slices.Clone(all)
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] }) //nolint:gosec // no secret
		for _, f := range order {
			moment := kubeletPeriod * time.Duration(2*round+1) / time.Duration(2*e.options.colds)
			if err := e.measureColdStart(ctx, f, moment); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	base := e.report.median(coldName(trivial))
	for _, f := range all[1:] {
		e.report.add("cold start of "+f.name+", ratio to trivial", "", e.report.median(coldName(f.name))/base, &target{atMost: 1.15})
	}
	return nil
}

func coldName(function string) string { return "cold start of " + function + ": first answer" }

func stageName(function, stage string) string { return "cold start of " + function + ": " + stage }

// kubeletPeriod is how often the kubelet looks at its containers. A pod's
// readiness waits for such a look, for anything up to a second. Were the moments
// random, that alone would make medians of nine differ by a third.
const kubeletPeriod = time.Second

// tries bounds how often a start is repeated that another began.
const tries = 5

// measureColdStart starts a function at a moment after a look of the kubelet's.
func (e *environment) measureColdStart(ctx context.Context, f coldFunction, moment time.Duration) error {
	url, err := e.functionURL(ctx, f.namespace, f.name)
	if err != nil {
		return err
	}
	for range tries {
		if err := e.awaitZero(ctx, f.namespace, functionLabel+"="+f.name); err != nil {
			return err
		}
		if err := e.awaitLook(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(moment):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var s *start
		if s, err = e.coldStart(ctx, f, url); err == nil {
			e.report.add(coldName(f.name), "ms", milliseconds(s.answered.Sub(s.asked)), nil)
			for i, length := range s.lengths() {
				e.report.add(stageName(f.name, stages[i]), "ms", milliseconds(length), nil)
			}
			e.report.add(stageName(f.name, "ready for the kubelet"), "ms", milliseconds(s.ready.Sub(s.asked)), nil)
			return nil
		}
		note("%s: once more: %v", f.name, err)
	}
	return err
}

// awaitLook returns right after a look of the kubelet's; on a cluster of several
// nodes, where a pod's is not known beforehand, of one of them.
func (e *environment) awaitLook(ctx context.Context) error {
	nodes, err := e.cluster.nodes(ctx)
	if err != nil || len(nodes) == 0 {
		return err
	}
	first, err := e.looks(ctx, nodes[0].GetName())
	for now := first; err == nil && now == first; now, err = e.looks(ctx, nodes[0].GetName()) {
		select {
		case <-time.After(kubeletPeriod / 50):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return err
}

// looks reads how often a node's kubelet has looked at its containers.
func (e *environment) looks(ctx context.Context, node string) (string, error) {
	const metric = "kubelet_pleg_relist_duration_seconds_count "
	body, err := e.cluster.open(ctx, "/api/v1/nodes/"+node+"/proxy/metrics")
	if err != nil {
		return "", err
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		if count, ok := strings.CutPrefix(lines.Text(), metric); ok {
			return count, nil
		}
	}
	return "", errors.Join(fmt.Errorf("the kubelet of node %s has no metric %s", node, metric), lines.Err())
}

// coldStart sends one request to a function at zero. Its readiness needs no
// token and changes nothing.
func (e *environment) coldStart(ctx context.Context, f coldFunction, url string) (*start, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not all steps of the start were seen within a minute"))
	defer cancel()
	podWatch, err := e.watchFromNow(ctx, f, pods, metav1.ListOptions{LabelSelector: functionLabel + "=" + f.name})
	if err != nil {
		return nil, err
	}
	defer podWatch.Stop()
	eventWatch, err := e.watchFromNow(ctx, f, events, metav1.ListOptions{FieldSelector: "involvedObject.kind=Pod,reason=Started"})
	if err != nil {
		return nil, err
	}
	defer eventWatch.Stop()

	s := &start{asked: time.Now()}
	answers := make(chan error, 1)
	go func() { answers <- e.probe(ctx, url) }()
	for !s.complete() {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case err := <-answers:
			if s.answered = time.Now(); err != nil {
				return nil, err
			}
		case change, open := <-podWatch.ResultChan():
			if !open {
				return nil, errors.New("the watch ended")
			}
			s.sawPod(change)
		case change, open := <-eventWatch.ResultChan():
			if !open {
				return nil, errors.New("the watch ended")
			}
			s.sawEvent(change)
		}
	}
	if s.answered.Before(s.sidecar) {
		return nil, errWoken
	}
	return s, nil
}

func (e *environment) watchFromNow(ctx context.Context, f coldFunction, resource schema.GroupVersionResource, selection metav1.ListOptions) (watch.Interface, error) {
	client := e.cluster.Resource(resource).Namespace(f.namespace)
	list, err := client.List(ctx, selection)
	if err != nil {
		return nil, err
	}
	if resource == pods && len(list.Items) > 0 {
		return nil, errWoken
	}
	selection.ResourceVersion = list.GetResourceVersion()
	return client.Watch(ctx, selection)
}

func (s *start) sawPod(change watch.Event) {
	pod, ok := change.Object.(*unstructured.Unstructured)
	if !ok || s.pod != "" && pod.GetName() != s.pod {
		return
	}
	now := time.Now()
	if s.pod == "" {
		s.pod, s.created = pod.GetName(), now
	}
	if s.ready.IsZero() && condition(pod, "Ready") {
		s.ready = now
	}
}

func (s *start) sawEvent(change watch.Event) {
	event, ok := change.Object.(*unstructured.Unstructured)
	if !ok {
		return
	}
	if name, _, _ := unstructured.NestedString(event.Object, "involvedObject", "name"); name != s.pod {
		return
	}
	container, _, _ := unstructured.NestedString(event.Object, "involvedObject", "fieldPath")
	switch { // the first time each: an event may be told again, a container started again
	case container == "spec.containers{user-container}" && s.running.IsZero():
		s.running = time.Now()
	case container == "spec.containers{queue-proxy}" && s.sidecar.IsZero():
		s.sidecar = time.Now()
	}
}

// probe asks a function whether it is ready.
func (e *environment) probe(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/health/readiness", nil)
	if err != nil {
		return err
	}
	answer, err := e.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s/health/readiness: %s", url, answer.Status)
	}
	return nil
}
