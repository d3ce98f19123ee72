package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/graf-run/graf/deploy/manifest"
)

// applyBroker applies the Broker, waits for its address, and notes it for the
// functions, with the image of agents that name none.
func (d *deployment) applyBroker(ctx context.Context) error {
	brokers, _ := manifest.Split(d.objects, kindBroker)
	if len(brokers) != 1 {
		return fmt.Errorf("the overlay makes %d Brokers: it needs the one of eventing/", len(brokers))
	}
	broker, err := d.withoutDeadLetterSink(ctx, brokers[0])
	if err != nil {
		return err
	}
	if err := d.cluster.apply(ctx, []manifest.Object{broker}); err != nil {
		if class, _ := brokers[0].At("metadata", "annotations", "eventing.knative.dev/broker.class").(string); class != "" {
			return fmt.Errorf("Broker of class %s: %w\na Broker's class cannot be changed: make undeploy first (docs in deploy/README.md)", class, err) //nolint:staticcheck // Broker is a kind's name
		}
		return err
	}
	var address, why string
	err = poll(ctx, 2*time.Minute, func() (bool, error) {
		broker, err := d.cluster.get(ctx, "broker", brokers[0].Name())
		if err != nil {
			return false, err
		}
		address, _ = broker.At("status", "address", "url").(string)
		_, reason, message := condition(broker, "Ready")
		why = reason + " " + message
		return ready(broker) && address != "", nil
	}, func() error {
		return errors.New("the Broker is not ready: " + why + "; see cluster/kubectl.sh describe --namespace " + namespace + " broker " + brokers[0].Name())
	})
	if err != nil {
		return err
	}
	return d.cluster.apply(ctx, []manifest.Object{{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "graf-deployment", "namespace": namespace, "labels": map[string]any{"app.kubernetes.io/part-of": "graf"}},
		"data": map[string]any{
			"K_SINK": address, "GRAF_AGENT_IMAGE": d.images[agentProgram], "GRAF_RUNNER_IMAGE": d.images[runnerProgram],
		},
	}})
}

// withoutDeadLetterSink gives the Broker as it can be before the function is there
// that takes its dead letters: the Broker gets no address until its sink has one,
// and functions are told the Broker's. The sink comes with the Triggers.
func (d *deployment) withoutDeadLetterSink(ctx context.Context, broker manifest.Object) (manifest.Object, error) {
	sink, _ := broker.At("spec", "delivery", "deadLetterSink", "ref", "name").(string)
	if sink == "" {
		return broker, nil
	}
	service, err := d.cluster.get(ctx, serviceKind, sink)
	if err != nil && !errors.Is(err, errNotFound) {
		return nil, err
	}
	if service != nil && service.At("status", "address", "url") != nil {
		return broker, nil
	}
	if err := d.removeStuckBroker(ctx, broker.Name()); err != nil {
		return nil, err
	}
	text, err := json.Marshal(broker)
	if err != nil {
		return nil, err
	}
	var without manifest.Object
	if err := json.Unmarshal(text, &without); err != nil {
		return nil, err
	}
	delivery, _ := without.At("spec", "delivery").(map[string]any)
	delete(delivery, "deadLetterSink")
	return without, nil
}

// removeStuckBroker removes a Broker that somebody applied with its sink before
// there was one: its channel keeps the sink, and so never gets an address.
func (d *deployment) removeStuckBroker(ctx context.Context, name string) error {
	broker, err := d.cluster.get(ctx, "broker", name)
	if errors.Is(err, errNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if broker.At("status", "address", "url") != nil || broker.At("spec", "delivery", "deadLetterSink") == nil {
		return nil
	}
	_, err = d.cluster.kubectl(ctx, nil, "delete", "broker", name, "--namespace", namespace, "--wait")
	return err
}

// waitForServers waits for databases that the overlay runs in the cluster.
func (d *deployment) waitForServers(ctx context.Context) error {
	for _, o := range d.objects {
		var arguments []string
		switch o.Kind() {
		case "StatefulSet", "Deployment":
			arguments = []string{"rollout", "status", o.Kind() + "/" + o.Name(), "--timeout=300s"}
		case "Cluster", "Pooler":
			if o.Kind() == "Pooler" {
				continue // it has no condition; the migration does not need it
			}
			arguments = []string{"wait", "--for=condition=Ready", "--timeout=600s", "clusters.postgresql.cnpg.io/" + o.Name()}
		default:
			continue
		}
		if _, err := d.cluster.kubectl(ctx, nil, append(arguments, "--namespace", o.Namespace())...); err != nil {
			return fmt.Errorf("%s %s does not get ready: %w", o.Kind(), o.Name(), err)
		}
	}
	return nil
}
