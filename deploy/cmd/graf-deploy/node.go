package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/graf-run/graf/deploy/manifest"
)

// useNode completes the overlay with what the servers on the node say of
// themselves: addresses for the ConfigMaps, and the Secrets.
func (d *deployment) useNode(config manifest.Object) error {
	servers, err := readServers(d.settings.servers)
	if err != nil {
		return err
	}
	folder := filepath.Dir(d.settings.servers)
	token, err := keptToken(filepath.Join(folder, "api-token"))
	if err != nil {
		return err
	}
	lead, err := keptToken(filepath.Join(folder, "lead-token"))
	if err != nil {
		return err
	}
	for _, name := range []string{"GRAF_S3_ENDPOINT", "GRAF_S3_REGION", "GRAF_S3_BUCKET"} {
		config.Set(servers[name], "data", name)
	}
	embedding := manifest.Find(d.objects, "ConfigMap", "graf-embedding")
	for _, name := range []string{"OPENAI_BASE_URL", "OPENAI_EMBEDDING_MODEL", "OPENAI_EMBEDDING_DIMENSION"} {
		embedding.Set(servers[name], "data", name)
	}
	d.objects = append(d.objects,
		newSecret("graf-postgres", map[string]any{
			"GRAF_DATABASE_URL": servers["GRAF_DATABASE_URL"], "GRAF_DATABASE_DIRECT_URL": servers["GRAF_DATABASE_URL"],
		}),
		newSecret("graf-redis", map[string]any{"GRAF_REDIS_URL": servers["GRAF_REDIS_URL"]}),
		newSecret("graf-s3", map[string]any{
			"GRAF_S3_ACCESS_KEY_ID": servers["GRAF_S3_ACCESS_KEY_ID"], "GRAF_S3_SECRET_ACCESS_KEY": servers["GRAF_S3_SECRET_ACCESS_KEY"],
		}),
		newSecret("graf-api", map[string]any{"GRAF_API_BEARER_TOKENS": "local=" + token + ", lead=" + lead}),
		newSecret("graf-openai", map[string]any{"OPENAI_API_KEY": servers["OPENAI_API_KEY"]}),
	)
	return nil
}

func newSecret(name string, data map[string]any) manifest.Object {
	return manifest.Object{
		"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "stringData": data,
		"metadata": map[string]any{
			"name": name, "namespace": namespace, "labels": map[string]any{"app.kubernetes.io/part-of": "graf"},
		},
	}
}

// serverSettings are what the node's servers must say.
var serverSettings = []string{
	"GRAF_DATABASE_URL", "GRAF_REDIS_URL", "GRAF_S3_ENDPOINT", "GRAF_S3_REGION", "GRAF_S3_BUCKET", "GRAF_S3_ACCESS_KEY_ID",
	"GRAF_S3_SECRET_ACCESS_KEY", "OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_EMBEDDING_MODEL", "OPENAI_EMBEDDING_DIMENSION",
}

// readServers reads the file that graf-local services writes.
func readServers(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the servers on the node do not run (there is no %s): make cluster starts them; or choose another overlay with GRAF_OVERLAY", file)
	}
	if err != nil {
		return nil, fmt.Errorf("find the servers on the node: %w", err)
	}
	servers := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			servers[name] = value
		}
	}
	for _, name := range serverSettings {
		if servers[name] == "" {
			return nil, fmt.Errorf("%s has no %s: make cluster-down cluster starts the servers anew", file, name)
		}
	}
	if u, err := url.Parse(servers["GRAF_DATABASE_URL"]); err != nil || net.ParseIP(u.Hostname()).IsLoopback() {
		return nil, fmt.Errorf("the servers of %s listen on loopback, where pods do not reach them: start them with graf-local services --listen", file)
	}
	return servers, nil
}

// keptToken reads an API token, made at the first deployment: that of caller "local",
// or that of caller "lead", who approves what others submit.
func keptToken(file string) (string, error) {
	token, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		token = []byte("graf_local_" + rand.Text() + "\n")
		err = os.WriteFile(file, token, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("keep the API token: %w", err)
	}
	return strings.TrimSpace(string(token)), nil
}
