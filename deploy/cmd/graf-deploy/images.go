package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/graf-run/graf/deploy/image"
	"github.com/graf-run/graf/deploy/manifest"
)

// Programs beside the functions that become images.
const (
	migrateProgram = "migrate"
	agentProgram   = "manifest-agent"
	runnerProgram  = "graf-runner"
)

// packages are the programs that become images, with their packages.
func (d *deployment) packages() map[string]string {
	all := map[string]string{
		migrateProgram: "./migrations/cmd/migrate", agentProgram: "./examples/cmd/manifest-agent", runnerProgram: "./runner/cmd/graf-runner",
	}
	for _, name := range functionNames {
		all[name] = "./functions/" + name + "/cmd/" + name
	}
	if d.worker != nil {
		all[workerProgram] = "./worker/cmd/worker"
	}
	return all
}

// imageName is what the image of a program is called.
func imageName(program string) string {
	switch program {
	case agentProgram:
		return "graf-agent"
	case runnerProgram:
		return program
	}
	return "graf-" + program
}

// programs is the folder that programs are built into.
func (d *deployment) programs() string { return filepath.Join(d.settings.root, "bin", "deploy") }

// build builds the programs for the cluster's processors.
func (d *deployment) build(ctx context.Context) error {
	architecture, err := d.cluster.kubectl(ctx, nil, "get", "nodes", "--output", "jsonpath={.items[*].status.nodeInfo.architecture}")
	if err != nil {
		return err
	}
	found := strings.Fields(string(architecture))
	if len(found) == 0 {
		return fmt.Errorf("the cluster has no node")
	}
	for _, other := range found {
		if other != found[0] {
			return fmt.Errorf("the cluster's nodes have different processors (%s): Graf's images are for one", strings.Join(found, ", "))
		}
	}
	if err := os.MkdirAll(d.programs(), 0o755); err != nil { //nolint:gosec // programs are no secret
		return err
	}
	arguments := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "bin/deploy/"}
	for _, path := range sortedKeys(d.packages()) {
		arguments = append(arguments, d.packages()[path])
	}
	cmd := exec.CommandContext(ctx, "go", arguments...)
	cmd.Dir = d.settings.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+found[0])
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, output)
	}
	return nil
}

// deliverImages packs the programs and loads or pushes those that are not there.
func (d *deployment) deliverImages(ctx context.Context) error {
	work, err := os.MkdirTemp("", "graf-images-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // a temporary folder
	d.images = map[string]string{}
	for _, program := range sortedKeys(d.packages()) {
		if d.images[program], err = d.deliverImage(ctx, program, filepath.Join(work, program+".tar")); err != nil {
			return err
		}
	}
	if job := manifest.Find(d.objects, kindJob, "graf-migrate"); job != nil {
		containers, _ := job.At("spec", "template", "spec", "containers").([]any)
		if len(containers) == 1 {
			manifest.Object(containers[0].(map[string]any)).Set(d.images[migrateProgram], "image") //nolint:errcheck,forcetypeassert // base has it
		}
	}
	return nil
}

func (d *deployment) deliverImage(ctx context.Context, program, archive string) (string, error) {
	content, architecture, err := image.ReadProgram(filepath.Join(d.programs(), program))
	if err != nil {
		return "", err
	}
	push := d.settings.registry != ""
	made, err := image.Build(image.Spec{Program: content, Path: "/app/" + program, Architecture: architecture, Compress: push})
	if err != nil {
		return "", err
	}
	reference, err := image.Reference(made, orDefault(d.settings.registry, image.LocalRegistry), imageName(program))
	if err != nil {
		return "", err
	}
	if push {
		pushed, err := image.Push(ctx, made, reference)
		if err != nil {
			return "", err
		}
		return pushed.String(), nil
	}
	if err := image.Write(made, reference, archive); err != nil {
		return "", err
	}
	_, err = d.cluster.script(ctx, nil, "cluster/load.sh", reference.String(), archive)
	return reference.String(), err
}
