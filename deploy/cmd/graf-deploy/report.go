package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// report prints where the functions are, and a task that works.
func (d *deployment) report(ctx context.Context) error {
	services, err := d.cluster.list(ctx, serviceKind)
	if err != nil {
		return err
	}
	addresses := map[string]string{}
	fmt.Fprintln(d.out)
	for _, s := range services {
		addresses[s.Name()], _ = s.At("status", "url").(string)
		fmt.Fprintf(d.out, "  %-16s %s\n", s.Name(), addresses[s.Name()])
	}
	submit, callback, memory := addresses["graf-submit"], addresses["graf-callback"], addresses["graf-memory"]
	if submit == "" || callback == "" || memory == "" {
		return errors.New("graf-submit, graf-callback and graf-memory have no URLs")
	}
	const task = "bin/graf submit 'Say hello.' --watch -- /app/manifest-agent --help"
	fmt.Fprintf(d.out, "\nTry it (make build makes bin/graf):\n\n")
	if !d.settings.usesNode() {
		fmt.Fprintf(d.out, "  GRAF_TOKEN=…  # one of Secret graf-api's\n  export GRAF_TOKEN\n"+
			"  bin/graf login %s --callback-url %s --memory-url %s\n  %s\n\n", submit, callback, memory, task)
		return nil
	}
	file, err := d.writeEnvironment(ctx, submit, callback, memory)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  . %s\n  cluster/exec.sh %s\n\n", file, task)
	return nil
}

// writeEnvironment writes files beside those of the node's servers by which graf, the
// command line, and curl reach the functions: a context with the API token, and a file
// for shells, whose name it gives.
func (d *deployment) writeEnvironment(ctx context.Context, submit, callback, memory string) (file string, err error) {
	// The functions' names are known to the ingress alone, which is asked as a proxy is.
	ingress, err := d.cluster.kubectl(ctx, nil, "get", "service", "traefik", "--namespace", "traefik", "--output", "jsonpath={.spec.clusterIP}")
	if err != nil {
		return "", err
	}
	folder := filepath.Dir(d.settings.servers)
	token, err := os.ReadFile(filepath.Join(folder, "api-token"))
	if err != nil {
		return "", fmt.Errorf("read the API token: %w", err)
	}
	login, err := yaml.Marshal(map[string]any{"current": "cluster", "contexts": map[string]any{"cluster": map[string]string{
		"url": submit, "callbackUrl": callback, "memoryUrl": memory, "token": strings.TrimSpace(string(token)),
	}}})
	if err != nil {
		return "", err
	}
	config := filepath.Join(folder, "graf.yaml")
	if err := os.WriteFile(config, login, 0o600); err != nil {
		return "", fmt.Errorf("write the context of graf: %w", err)
	}
	file = filepath.Join(folder, "env")
	text := fmt.Sprintf("# Written by make deploy: source it, and run cluster/exec.sh bin/graf.\n"+
		"export GRAF_CONFIG='%s' GRAF_SUBMIT_URL='%s' http_proxy='http://%s'\nunset GRAF_URL GRAF_TOKEN\n", config, submit, ingress)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write the environment: %w", err)
	}
	return file, nil
}

// undeploy removes the namespace and what a deployment made outside of it.
func (d *deployment) undeploy(ctx context.Context) error {
	return d.progress.step("Graf removed", func() error {
		if _, err := d.cluster.kubectl(ctx, nil, "delete", "clusterrole,clusterrolebinding", "--selector", "app.kubernetes.io/part-of=graf", "--ignore-not-found"); err != nil {
			return err
		}
		// In this order, for a namespace's own end has Knative's parts wait for one another.
		_, err := d.cluster.kubectl(ctx, nil, "delete", "triggers.eventing.knative.dev,apiserversources.sources.knative.dev,pingsources.sources.knative.dev,"+
			serviceKind+",brokers.eventing.knative.dev", "--all", "--namespace", namespace, "--wait", "--timeout=120s")
		if err != nil && !errors.Is(err, errNotFound) {
			return err
		}
		if _, err := d.cluster.kubectl(ctx, nil, "delete", "namespace", namespace, "--ignore-not-found", "--wait", "--timeout=180s"); err != nil {
			return fmt.Errorf("namespace %s could not be removed: %w", namespace, err)
		}
		if !d.settings.usesNode() {
			d.progress.note("namespace graf-data, if there is one, was left, with the servers and their data: kubectl delete namespace graf-data")
		}
		return nil
	})
}
