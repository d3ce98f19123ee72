package kubernetes

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
)

const kubeconfigFormat = `apiVersion: v1
kind: Config
clusters:
- name: graf-local
  cluster:
    server: %q
    certificate-authority-data: %s
users:
- name: graf-local
  user:
    token: %q
contexts:
- name: graf-local
  context:
    cluster: graf-local
    user: graf-local
    namespace: default
current-context: graf-local
`

// WriteKubeconfig writes a kubeconfig file for this cluster, readable by its owner alone. It replaces the file in one
// step, so that a program that starts meanwhile reads either the old or the new one.
func (c *Cluster) WriteKubeconfig(path string) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".kubeconfig-*")
	if err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	_, err = fmt.Fprintf(temporary, kubeconfigFormat,
		c.URL(), base64.StdEncoding.EncodeToString(c.Certificate()), c.token)
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	return nil
}
