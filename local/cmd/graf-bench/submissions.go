package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// occupied leaves one slot, which benchSubmissions gives to a task that sleeps:
// what comes in is taken, announced, made to wait and remembered, but not run.
var occupied = []string{"GRAF_SLOTS_GLOBAL=1"}

// minimal is the smallest useful submission. Its prompt is always the same and
// so embedded once: the model is measured elsewhere.
const minimal = `{"prompt": "Do nothing.", "agent": {"kind": "command", "command": ["true"]}}`

// benchSubmissions measures submissions by 16 clients. Each is answered when its
// task is on disk and the Broker has taken its event; launch and embed work on
// these events on the same two processors in the meantime.
func benchSubmissions(name, body string, throughGateway bool) func(context.Context, *environment) error {
	return func(ctx context.Context, e *environment) error {
		url := e.functionURL("submit")
		if throughGateway {
			url = e.platform.URL()
		}
		c := newClient(url, e.platform.Token())
		defer c.close()
		if err := e.occupySlot(ctx, c); err != nil {
			return err
		}
		same := func(int) string { return body }
		if _, err := c.submitAll(ctx, warmUp, same); err != nil {
			return err
		}
		before, err := processorTimes()
		if err != nil {
			return err
		}
		began := time.Now()
		latencies, err := c.submitAll(ctx, e.options.submissions, same)
		if err != nil {
			return err
		}
		rate := float64(len(latencies)) / time.Since(began).Seconds()
		after, err := processorTimes()
		if err != nil {
			return err
		}
		e.report.add(name, "per second", rate, atLeast(500))
		e.report.addLatencies(name, latencies, nil, atMost(40))
		e.report.addProcessorUse(name, "ms per submission", processorUse(before, after), len(latencies))
		return nil
	}
}

// warmUp is how many tasks go before a measurement: connections are opened and
// statements prepared then.
const warmUp = 200

// occupySlot submits a task that sleeps and waits until it runs.
func (e *environment) occupySlot(ctx context.Context, c *client) error {
	if _, err := c.submit(ctx, `{"prompt": "Sleep.", "agent": {"kind": "command", "command": ["sleep", "600"]}}`); err != nil {
		return err
	}
	return waitFor(ctx, "the task that takes the slot", func() (bool, error) {
		var running bool
		err := e.database.QueryRow(ctx, `SELECT EXISTS (SELECT FROM codex_tasks WHERE status = 'running')`).Scan(&running)
		return running, err
	})
}

// withManifests is a submission with three Deployments, 6 KiB in all.
func withManifests() string {
	manifests := make([]string, 3)
	for i := range manifests {
		manifests[i] = fmt.Sprintf(deployment, i, strings.Repeat(variable, 12))
	}
	return fmt.Sprintf(`{"prompt": "Do nothing.", "agent": {"kind": "command", "command": ["true"]}, "manifests": [%s]}`,
		strings.Join(manifests, ", "))
}

const variable = `{"name": "A_VARIABLE_OF_THE_CONTAINER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}, `

const deployment = `{"apiVersion": "apps/v1", "kind": "Deployment",
"metadata": {"name": "broker-ingress-%d", "namespace": "knative-eventing",
	"labels": {"app.kubernetes.io/component": "broker-ingress", "app.kubernetes.io/version": "v1.20.0", "app.kubernetes.io/name": "knative-eventing"}},
"spec": {"replicas": 1, "selector": {"matchLabels": {"eventing.knative.dev/brokerRole": "ingress"}},
	"template": {"metadata": {"labels": {"eventing.knative.dev/brokerRole": "ingress"}}, "spec": {"serviceAccountName": "mt-broker-ingress",
		"containers": [{"name": "ingress", "image": "registry.example/broker-ingress:v1.20.0",
			"env": [%s{"name": "PORT", "value": "8080"}],
			"readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 2},
			"resources": {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}}]}}}}`
