package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	jobRate  = "bare Jobs"
	jobLabel = "graf.dev/measured"
	// jobsAtOnce is as many as Graf runs at a time for one caller:
	// GRAF_SLOTS_PER_CALLER.
	jobsAtOnce = 25
)

// measureJobs runs Jobs of the container that the tasks run, as many as there are
// tasks, and at once as many as Graf would.
func (e *environment) measureJobs(ctx context.Context, round int) error {
	label := fmt.Sprint("round-", round)
	slots := make(chan struct{}, jobsAtOnce)
	made := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { made <- e.createJobs(ctx, label, slots) }()
	var ends []time.Time
	err := e.observe(ctx, "all bare Jobs have ended", jobs, own, metav1.ListOptions{LabelSelector: jobLabel + "=" + label},
		func(known map[string]*unstructured.Unstructured) bool {
			now := 0
			for _, job := range known {
				if condition(job, "Complete") || condition(job, "Failed") {
					now++
				}
			}
			for len(ends) < now {
				ends = append(ends, time.Now())
				<-slots
			}
			return len(ends) == warmUp+e.options.tasks
		})
	if err != nil {
		return err
	}
	if err := <-made; err != nil {
		return err
	}
	e.report.add(jobRate, "Jobs per second", steadyRate(ends), nil)
	return nil
}

// createJobs creates one whenever there is a slot.
func (e *environment) createJobs(ctx context.Context, label string, slots chan<- struct{}) error {
	for i := range warmUp + e.options.tasks {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := e.create(ctx, jobs, e.job(fmt.Sprintf("%s-%d", label, i), label)); err != nil {
			return err
		}
	}
	return nil
}

// job is one of the same pod as Graf makes, but for what Graf gives it to read.
func (e *environment) job(name, label string) object {
	return object{
		"apiVersion": "batch/v1", "kind": "Job",
		"metadata": object{"name": name, "namespace": own, "labels": object{jobLabel: label}},
		"spec": object{
			"backoffLimit": int64(0),
			"template": object{"spec": object{
				"restartPolicy": "Never", "automountServiceAccountToken": false, "enableServiceLinks": false,
				"securityContext": object{"runAsNonRoot": true, "seccompProfile": object{"type": "RuntimeDefault"}},
				"containers": []any{object{
					"name": "agent", "image": e.options.image, "command": []any{"/app", "nothing"},
					"securityContext": object{"allowPrivilegeEscalation": false, "capabilities": object{"drop": []any{"ALL"}}},
				}},
			}},
		},
	}
}
