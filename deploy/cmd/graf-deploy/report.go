package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
)

// report prints where the functions are, and a request that works.
func (d *deployment) report(ctx context.Context) error {
	services, err := d.cluster.list(ctx, serviceKind)
	if err != nil {
		return err
	}
	var submit string
	fmt.Fprintln(d.out)
	for _, s := range services {
		address, _ := s.At("status", "url").(string)
		fmt.Fprintf(d.out, "  %-16s %s\n", s.Name(), address)
		if s.Name() == "graf-submit" {
			submit = address
		}
	}
	u, err := url.Parse(submit)
	if err != nil || submit == "" {
		return errors.New("function graf-submit has no URL")
	}
	const request = `     -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
     -d '{"prompt": "Say hello", "agent": {"kind": "command", "command": ["/app/manifest-agent", "-h"]}}'`
	fmt.Fprintf(d.out, "\nTry it:\n\n")
	if !d.settings.usesNode() {
		fmt.Fprintf(d.out, "  TOKEN=…  # one of Secret graf-api's\n  curl -sS %s/v1/codex/tasks \\\n%s\n\n", submit, request)
		return nil
	}
	ingress, err := d.cluster.kubectl(ctx, nil, "get", "service", "traefik", "--namespace", "traefik", "--output", "jsonpath={.spec.clusterIP}")
	if err != nil {
		return err
	}
	token := filepath.Join(filepath.Dir(d.settings.servers), "api-token")
	fmt.Fprintf(d.out, "  TOKEN=$(cat %s)\n  cluster/exec.sh curl -sS --connect-to ::%s %s/v1/codex/tasks \\\n%s\n\n",
		token, string(ingress)+":80", "http://"+u.Host, request)
	return nil
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
