package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/graf-run/graf/deploy/funcyaml"
	"github.com/graf-run/graf/deploy/manifest"
)

// serviceKind is Knative's Service, as kubectl takes it.
const serviceKind = "services.serving.knative.dev"

// atOnce is how many functions are deployed at the same time: func waits most of it.
const atOnce = 3

// deployFunctions deploys those that are not there as they should be.
func (d *deployment) deployFunctions(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, f := range d.functions {
		group.Go(func() error {
			if err := d.deployFunction(ctx, f); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (d *deployment) deployFunction(ctx context.Context, f function) error {
	began := time.Now()
	digest, err := d.digest(ctx, f)
	if err != nil {
		return err
	}
	service, err := d.cluster.get(ctx, serviceKind, f.Name)
	if err != nil && !errors.Is(err, errNotFound) {
		return err
	}
	if service == nil || deployedDigest(service) != digest || !ready(service) {
		if err := d.runFunc(ctx, f, digest); err != nil {
			return err
		}
		if service, err = d.cluster.get(ctx, serviceKind, f.Name); err != nil {
			return err
		}
	}
	if err := d.harden(ctx, f, service); err != nil {
		return err
	}
	d.progress.line(began, "  "+f.Name)
	return nil
}

// digest is of all that a function is deployed from: when it changes, the function
// gets a new revision. ConfigMaps count by content, Secrets by version, lest
// anything of their content be told.
func (d *deployment) digest(ctx context.Context, f function) (string, error) {
	sum := sha256.New()
	_, _ = sum.Write(f.text) // a hash takes everything
	_, _ = fmt.Fprintln(sum, d.images[f.program])
	for _, r := range f.References() {
		o, err := d.cluster.get(ctx, strings.ToLower(r.Kind), r.Name)
		if errors.Is(err, errNotFound) {
			return "", fmt.Errorf("there is no %s %s: see deploy/README.md", r.Kind, r.Name)
		}
		if err != nil {
			return "", err
		}
		version := o.At("metadata", "resourceVersion")
		if r.Kind == "ConfigMap" {
			version = o.At("data")
		}
		text, err := json.Marshal(version) // with sorted keys
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintln(sum, r.Kind, r.Name, r.Key, string(text))
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

func deployedDigest(service manifest.Object) string {
	digest, _ := service.At("metadata", "annotations", funcyaml.DigestAnnotation).(string)
	return digest
}

// runFunc runs func deploy on a copy of func.yaml, which func would write to.
func (d *deployment) runFunc(ctx context.Context, f function, digest string) error {
	folder, err := os.MkdirTemp("", "graf-func-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }() // a temporary folder
	if err := os.WriteFile(filepath.Join(folder, "func.yaml"), funcyaml.WithDigest(f.text, digest), 0o600); err != nil {
		return err
	}
	program, err := filepath.Abs(d.settings.funcProgram)
	if err != nil {
		return err
	}
	said, err := d.cluster.script(ctx, nil, "cluster/exec.sh", program, "deploy", "--path", folder,
		"--build=false", "--push=false", "--image", d.images[f.program], "--namespace", namespace)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if reason := d.whyNotReady(ctx, f); reason != nil {
		return reason
	}
	return fmt.Errorf("%w\n%s", err, indent(strings.TrimSpace(string(said))))
}

// whyNotReady looks for the cause in the function's last revision and its pods.
func (d *deployment) whyNotReady(ctx context.Context, f function) error {
	service, err := d.cluster.get(ctx, serviceKind, f.Name)
	if err != nil {
		return nil //nolint:nilerr // func's own error says more
	}
	name, _ := service.At("status", "latestCreatedRevisionName").(string)
	if name == "" {
		return nil
	}
	if err := d.cannotStart(ctx, "serving.knative.dev/revision="+name); err != nil {
		return err
	}
	revision, err := d.cluster.get(ctx, "revisions.serving.knative.dev", name)
	if err != nil {
		return nil //nolint:nilerr // likewise
	}
	status, reason, message := condition(revision, "Ready")
	if status == "True" {
		return nil
	}
	mend := "see cluster/kubectl.sh logs --namespace " + namespace + " --selector serving.knative.dev/revision=" + name + " --all-containers"
	if strings.Contains(reason+message, "mage") {
		mend = waitingMends["ErrImagePull"]
	}
	return fmt.Errorf("revision %s is not ready: %s: %s\n  image %s\n%s", name, reason, message, d.images[f.program], mend)
}

// harden sets what func has no setting for: a read-only root filesystem and the
// request timeout. func keeps them when it updates the function, so that there is
// something to do only once.
func (d *deployment) harden(ctx context.Context, f function, service manifest.Object) error {
	seconds, err := f.Timeout()
	if err != nil {
		return err
	}
	if hardened(service, seconds) {
		return nil
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "add", "path": "/spec/template/spec/timeoutSeconds", "value": seconds},
		{"op": "add", "path": "/spec/template/spec/containers/0/securityContext/readOnlyRootFilesystem", "value": true},
	})
	if err != nil {
		return err
	}
	if _, err := d.cluster.kubectl(ctx, nil, "patch", serviceKind, f.Name, "--namespace", namespace, "--type", "json", "--patch", string(patch)); err != nil {
		return err
	}
	return poll(ctx, 2*time.Minute, func() (bool, error) {
		service, err := d.cluster.get(ctx, serviceKind, f.Name)
		if err != nil {
			return false, err
		}
		if status, _, _ := condition(service, "ConfigurationsReady"); status == "False" {
			return false, d.whyNotReady(ctx, f)
		}
		return ready(service), nil
	}, func() error {
		return errors.Join(errors.New("it is not ready after two minutes"), d.whyNotReady(ctx, f))
	})
}

func hardened(service manifest.Object, seconds int) bool {
	containers, _ := service.At("spec", "template", "spec", "containers").([]any)
	for _, c := range containers {
		fields, _ := c.(map[string]any)
		if manifest.Object(fields).At("securityContext", "readOnlyRootFilesystem") != true {
			return false
		}
	}
	timeout, _ := service.At("spec", "template", "spec", "timeoutSeconds").(float64)
	return len(containers) > 0 && int(timeout) == seconds
}
