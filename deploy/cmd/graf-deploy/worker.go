package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/graf-run/graf/deploy/manifest"
)

// workerProgram is the Temporal worker's, and its container's name.
const workerProgram = "worker"

// takeWorker takes the worker's Deployment out of the objects: it has its own
// place in the order, as it needs the Broker's address and the database.
func (d *deployment) takeWorker() {
	d.worker = manifest.Find(d.objects, "Deployment", "graf-worker")
	d.objects = slices.DeleteFunc(d.objects, func(o manifest.Object) bool {
		return o.Kind() == "Deployment" && o.Name() == "graf-worker"
	})
}

// deployWorker brings the worker up to date, if the overlay has it, and waits for it.
func (d *deployment) deployWorker(ctx context.Context) error {
	if d.worker == nil {
		return nil
	}
	containers, _ := d.worker.At("spec", "template", "spec", "containers").([]any)
	if len(containers) != 1 {
		return errors.New("the Deployment graf-worker must have one container")
	}
	container, _ := containers[0].(map[string]any)
	manifest.Object(container).Set(d.images[workerProgram], "image")
	digest, err := d.configDigest(ctx)
	if err != nil {
		return err
	}
	d.worker.Set(digest, "spec", "template", "metadata", "annotations", "graf.dev/config")
	if err := d.cluster.apply(ctx, []manifest.Object{d.worker}); err != nil {
		return err
	}
	return poll(ctx, 2*time.Minute, func() (bool, error) {
		o, err := d.cluster.get(ctx, "deployments.apps", d.worker.Name())
		return err == nil && rolledOut(o), err
	}, func() error { return d.workerIsLate(ctx) })
}

// workerIsLate says why the worker is not ready.
func (d *deployment) workerIsLate(ctx context.Context) error {
	why := d.cannotStart(ctx, "app.kubernetes.io/name=graf-worker")
	if why == nil {
		why = errors.New("see cluster/kubectl.sh logs --namespace " + namespace + " deployment/graf-worker")
	}
	return fmt.Errorf("graf-worker is not ready after two minutes: %w", why)
}

// configDigest is of the ConfigMaps that the worker reads when it starts: when one
// changes, it is started anew.
func (d *deployment) configDigest(ctx context.Context) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"graf-deployment", "graf-config", "graf-embedding", "graf-temporal"} {
		o, err := d.cluster.get(ctx, "configmap", name)
		if err != nil {
			return "", err
		}
		text, err := json.Marshal(o.At("data")) // with sorted keys
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintln(sum, name, string(text)) // a hash takes everything
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// rolledOut tells whether a Deployment's pods are all of its newest version and ready.
func rolledOut(o manifest.Object) bool {
	number := func(path ...string) float64 {
		n, _ := o.At(path...).(float64)
		return n
	}
	wanted := number("spec", "replicas")
	return number("status", "observedGeneration") >= number("metadata", "generation") &&
		number("status", "updatedReplicas") == wanted && number("status", "readyReplicas") == wanted &&
		number("status", "replicas") == wanted
}
