package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/graf-run/graf/deploy/funcyaml"
	"github.com/graf-run/graf/deploy/manifest"
)

// functionNames are the functions, in the order in which they are deployed: those
// that others send to come first.
var functionNames = []string{"finalize", "embed", "launch", "callback", "memory", "submit"}

// deployment is one run of this program.
type deployment struct {
	settings settings
	cluster  *cluster
	progress *progress
	out      io.Writer

	// objects are what kustomize made of the overlay.
	objects   []manifest.Object
	functions []function
	// worker is the Deployment of the component temporal, nil without it.
	worker manifest.Object
	// images by program.
	images map[string]string
}

// function is one that is to be deployed.
type function struct {
	funcyaml.Function
	program string // the base name of its folder
	text    []byte // its func.yaml
}

// deploy puts everything on the cluster, each part after those that it needs.
func (d *deployment) deploy(ctx context.Context) error {
	if err := d.load(); err != nil {
		return err
	}
	for _, step := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"the cluster has what Graf needs", d.preflight},
		{"programs built", d.build},
		{"images", d.deliverImages},
		{"namespace, configuration, secrets, accounts, policies", d.applyGround},
		{"servers in the cluster", d.waitForServers},
		{"database at this version's schema", d.migrate},
		{"Broker", d.applyBroker},
		{"functions", d.deployFunctions},
		{"worker", d.deployWorker},
		{"Triggers and sources", d.applyTriggers},
	} {
		if err := d.progress.step(step.title, func() error { return step.do(ctx) }); err != nil {
			return fmt.Errorf("failed at %q: %w", step.title, err)
		}
	}
	d.progress.line(d.progress.began, "deployed")
	return d.report(ctx)
}

// load reads the overlay and the functions.
func (d *deployment) load() error {
	var err error
	overlay := d.settings.overlay
	if !filepath.IsAbs(overlay) {
		overlay = filepath.Join(d.settings.root, overlay)
	}
	if d.objects, err = manifest.Build(overlay); err != nil {
		return err
	}
	d.takeWorker()
	for _, name := range functionNames {
		f, text, err := funcyaml.Load(filepath.Join(d.settings.root, "functions", name, "func.yaml"))
		if err != nil {
			return err
		}
		d.functions = append(d.functions, function{Function: f, program: name, text: text})
	}
	return d.configure()
}

// configure completes the overlay's ConfigMaps and, where the node's servers are
// used, makes the Secrets.
func (d *deployment) configure() error {
	config := manifest.Find(d.objects, "ConfigMap", "graf-config")
	if config == nil {
		return fmt.Errorf("%s makes no ConfigMap graf-config: base your overlay on deploy/base", d.settings.overlay)
	}
	if d.settings.usesNode() {
		if err := d.useNode(config); err != nil {
			return err
		}
	}
	for name, value := range d.settings.config {
		config.Set(value, "data", name)
	}
	return nil
}

// kinds that have their own place in the order.
const (
	kindJob     = "Job"
	kindBroker  = "Broker"
	kindTrigger = "Trigger"
	kindAPI     = "ApiServerSource"
	kindPing    = "PingSource"
)

// applyGround applies the namespaces, then what all else stands on.
func (d *deployment) applyGround(ctx context.Context) error {
	namespaces, others := manifest.Split(d.objects, "Namespace")
	if err := d.waitUntilGone(ctx); err != nil {
		return err
	}
	if err := d.cluster.apply(ctx, namespaces); err != nil {
		return err
	}
	_, ground := manifest.Split(others, kindJob, kindBroker, kindTrigger, kindAPI, kindPing)
	return d.cluster.apply(ctx, ground)
}

// waitUntilGone waits for a namespace that is being removed.
func (d *deployment) waitUntilGone(ctx context.Context) error {
	return poll(ctx, 2*time.Minute, func() (bool, error) {
		phase, err := d.cluster.kubectl(ctx, nil, "get", "namespace", namespace, "--ignore-not-found", "--output", "jsonpath={.status.phase}")
		return string(phase) != "Terminating", err
	}, func() error {
		return fmt.Errorf("namespace %s is still being removed: see kubectl get namespace %s --output yaml for what holds it up", namespace, namespace)
	})
}

// applyTriggers applies Triggers and sources, and the Broker with its dead-letter
// sink, and waits until they are ready.
func (d *deployment) applyTriggers(ctx context.Context) error {
	joints, _ := manifest.Split(d.objects, kindBroker, kindTrigger, kindAPI, kindPing)
	if err := d.cluster.apply(ctx, joints); err != nil {
		return err
	}
	var late manifest.Object
	var reason string
	return poll(ctx, 3*time.Minute, func() (bool, error) {
		for _, kind := range []string{"brokers.eventing.knative.dev", "triggers.eventing.knative.dev", "apiserversources.sources.knative.dev", "pingsources.sources.knative.dev"} {
			found, err := d.cluster.list(ctx, kind)
			if err != nil {
				return false, err
			}
			for _, o := range found {
				if !ready(o) {
					_, why, message := condition(o, "Ready")
					late, reason = o, why+" "+message
					return false, nil
				}
			}
		}
		return true, nil
	}, func() error {
		return fmt.Errorf("%s %s is not ready: %s; see cluster/kubectl.sh describe --namespace %s %s %s",
			late.Kind(), late.Name(), reason, namespace, late.Kind(), late.Name())
	})
}

// poll asks until the answer is yes. When it takes longer than limit, late says why.
func poll(ctx context.Context, limit time.Duration, done func() (bool, error), late func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := done()
		if yes && err == nil {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return late()
			}
			return ctx.Err()
		}
	}
}
