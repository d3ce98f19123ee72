package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// parts are the namespaces that belong to the deployment, and what they are.
var parts = map[string]string{
	graf: "Graf", "knative-serving": "Knative Serving", "knative-eventing": "Knative Eventing",
}

// sampleEvery is how often memory is looked at: the kubelet looks as often.
const sampleEvery = 5 * time.Second

const mebibyte = 1 << 20

// summary is the part of the kubelet's /stats/summary that is of use.
type summary struct {
	Pods []struct {
		PodRef struct{ Name, Namespace string }
		Memory struct{ WorkingSetBytes float64 }
	}
}

// memory sums up the working sets of the deployment's pods, in MiB by part.
func (e *environment) memory(ctx context.Context) (map[string]float64, error) {
	all, err := e.cluster.nodes(ctx)
	if err != nil {
		return nil, err
	}
	sums := map[string]float64{}
	for _, part := range parts {
		sums[part] = 0
	}
	for _, node := range all {
		var s summary
		if err := e.cluster.get(ctx, "/api/v1/nodes/"+node.GetName()+"/proxy/stats/summary", &s); err != nil {
			return nil, err
		}
		for _, pod := range s.Pods {
			if part, ok := parts[pod.PodRef.Namespace]; ok {
				sums[part] += pod.Memory.WorkingSetBytes / mebibyte
			}
		}
	}
	return sums, nil
}

// measureRest measures memory with every function at zero.
func measureRest(ctx context.Context, e *environment) error {
	for _, namespace := range []string{graf, own} {
		if err := e.awaitZero(ctx, namespace, functionLabel); err != nil {
			return err
		}
	}
	sums, err := e.memory(ctx)
	if err != nil {
		return err
	}
	e.reportMemory("at rest", sums)
	return nil
}

func (e *environment) reportMemory(when string, sums map[string]float64) {
	total := 0.0
	for _, part := range slices.Sorted(maps.Keys(sums)) {
		e.report.add("memory "+when+": "+part, "MiB", sums[part], nil)
		total += sums[part]
	}
	e.report.add("memory "+when, "MiB", total, nil)
}

// sampleMemory looks at the memory again and again until stop is called, which
// reports the sample with the largest sum.
func (e *environment) sampleMemory(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var most map[string]float64
	var failed error
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for await(ctx, tick) == nil {
			sums, err := e.memory(ctx)
			if err != nil && ctx.Err() == nil {
				failed = err
				return
			}
			if err == nil && sum(sums) > sum(most) {
				most = sums
			}
		}
	})
	return func() error {
		cancel()
		group.Wait()
		if failed == nil && most != nil {
			e.reportMemory("under load", most)
		}
		return failed
	}
}

func sum(values map[string]float64) float64 {
	total := 0.0
	for _, v := range values {
		total += v
	}
	return total
}
