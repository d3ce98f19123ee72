package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	graf "github.com/graf-run/graf/sdk/go"
)

// account is where Kubernetes puts what a container needs to call its API.
const account = "/var/run/secrets/kubernetes.io/serviceaccount"

// step is something that act does: pass a gate, or send a request to the Kubernetes
// API, if it has a path, or else to Graf's actions.
type step struct {
	Name string          `json:"name"`
	Gate string          `json:"gate"`
	Path string          `json:"path"`
	Body json.RawMessage `json:"body"`
}

// act takes the steps, a JSON array, and reports each answer. What is refused is no
// error: it is for the test to judge.
func act(ctx context.Context, steps string) error {
	var all []step
	if err := json.Unmarshal([]byte(steps), &all); err != nil {
		return fmt.Errorf("STEPS: %w", err)
	}
	for _, s := range all {
		if err := s.take(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return report(ctx, "completed", map[string]string{"summary": "Done."}, true)
}

func (s step) take(ctx context.Context) error {
	if s.Gate != "" {
		return again(ctx, func() (bool, error) { return passed(ctx, s.Gate) })
	}
	do := sendAction
	if s.Path != "" {
		do = sendKubernetes
	}
	status, answer, err := do(ctx, s)
	if err != nil {
		return err
	}
	return report(ctx, "progress", map[string]any{"name": s.Name, "status": status, "answer": answer}, true)
}

// sendAction has Graf carry out an action, by the SDK, and tries again when it does not answer.
func sendAction(ctx context.Context, s step) (status int, answer string, err error) {
	var action graf.ActionRequest
	if err := json.Unmarshal(s.Body, &action); err != nil {
		return 0, "", err
	}
	client, task, err := graf.NewInContainer()
	if err != nil {
		return 0, "", err
	}
	err = again(ctx, func() (bool, error) {
		results, err := client.Act(ctx, task, action)
		if problem, ok := errors.AsType[*graf.Problem](err); ok {
			status, answer = problem.Status, problem.Error()
			return status != http.StatusServiceUnavailable, nil
		}
		if err != nil {
			return false, err
		}
		body, err := json.Marshal(results)
		status, answer = http.StatusOK, string(body)
		return true, err
	})
	return status, answer, err
}

// sendKubernetes patches an object with the rights of the container's own account.
func sendKubernetes(ctx context.Context, s step) (status int, answer string, err error) {
	token, err := os.ReadFile(filepath.Join(account, "token"))
	if err != nil {
		return 0, "", fmt.Errorf("the container has no account: %w", err)
	}
	client, err := kubernetesClient()
	if err != nil {
		return 0, "", err
	}
	server := "https://" + net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	return send(ctx, client, request{
		Method: http.MethodPatch, URL: server + s.Path, Token: string(token),
		Type: "application/merge-patch+json", Body: string(s.Body),
	})
}

// kubernetesClient trusts the cluster's own authority.
func kubernetesClient() (*http.Client, error) {
	authority, err := os.ReadFile(filepath.Join(account, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("ca.crt holds no certificate")
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}, nil
}
