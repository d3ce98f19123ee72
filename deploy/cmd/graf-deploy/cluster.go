package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/graf-run/graf/deploy/manifest"
)

// fieldManager owns the fields that a deployment sets.
const fieldManager = "graf-deploy"

// cluster is the one in use, which the scripts in cluster/ know how to reach.
type cluster struct {
	root string
}

// errNotFound says that an object, or its kind, is not on the cluster.
var errNotFound = errors.New("not found on the cluster")

// kubectl runs kubectl and gives what it prints.
func (c *cluster) kubectl(ctx context.Context, input []byte, arguments ...string) ([]byte, error) {
	return c.script(ctx, input, "cluster/kubectl.sh", arguments...)
}

// script runs one of the workspace's scripts. Its error has what it said.
func (c *cluster) script(ctx context.Context, input []byte, name string, arguments ...string) ([]byte, error) {
	program, err := filepath.Abs(filepath.Join(c.root, name))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, arguments...)
	cmd.Dir = c.root
	cmd.Stdin = bytes.NewReader(input)
	var output, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &said
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		message := strings.TrimSpace(said.String())
		if strings.Contains(message, "(NotFound)") || strings.Contains(message, "the server doesn't have a resource type") {
			return nil, fmt.Errorf("%w: %s", errNotFound, message)
		}
		return output.Bytes(), fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), arguments[0], err, message)
	}
	return output.Bytes(), nil
}

// apply makes the objects as they are given, and leaves what others set of them.
func (c *cluster) apply(ctx context.Context, objects []manifest.Object) error {
	if len(objects) == 0 {
		return nil
	}
	list, err := manifest.List(objects)
	if err != nil {
		return err
	}
	_, err = c.kubectl(ctx, list, "apply", "--server-side", "--force-conflicts", "--field-manager", fieldManager, "--filename", "-")
	return err
}

// get reads an object.
func (c *cluster) get(ctx context.Context, kind, name string) (manifest.Object, error) {
	data, err := c.kubectl(ctx, nil, "get", kind, name, "--namespace", namespace, "--output", "json")
	if err != nil {
		return nil, err
	}
	var o manifest.Object
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", kind, name, err)
	}
	return o, nil
}

// list reads the objects of a kind.
func (c *cluster) list(ctx context.Context, kind string, arguments ...string) ([]manifest.Object, error) {
	data, err := c.kubectl(ctx, nil, append([]string{"get", kind, "--namespace", namespace, "--output", "json"}, arguments...)...)
	if err != nil {
		return nil, err
	}
	var all struct {
		Items []manifest.Object `json:"items"`
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("list %s: %w", kind, err)
	}
	return all.Items, nil
}

// condition gives the status, reason and message of one of an object's conditions.
func condition(o manifest.Object, kind string) (status, reason, message string) {
	all, _ := o.At("status", "conditions").([]any)
	for _, one := range all {
		fields, _ := one.(map[string]any)
		if fields["type"] == kind {
			status, _ = fields["status"].(string)
			reason, _ = fields["reason"].(string)
			message, _ = fields["message"].(string)
		}
	}
	return status, reason, message
}

// ready says whether the object's controller has seen its last change and calls it Ready.
func ready(o manifest.Object) bool {
	status, _, _ := condition(o, "Ready")
	observed, hasObserved := o.At("status", "observedGeneration").(float64)
	generation, _ := o.At("metadata", "generation").(float64)
	return status == "True" && (!hasObserved || observed == generation)
}
