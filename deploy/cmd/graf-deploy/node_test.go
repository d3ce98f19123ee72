package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graf-run/graf/deploy/manifest"
)

const servers = `GRAF_DATABASE_URL=postgres://graf:p@10.200.0.1:15432/graf?sslmode=disable
GRAF_REDIS_URL=redis://default:p@10.200.0.1:16379/0
GRAF_S3_ENDPOINT=http://10.200.0.1:19000
GRAF_S3_REGION=us-east-1
GRAF_S3_BUCKET=graf
GRAF_S3_ACCESS_KEY_ID=graf
GRAF_S3_SECRET_ACCESS_KEY=secret
OPENAI_BASE_URL=http://10.200.0.1:18090/v1
OPENAI_API_KEY=offline
OPENAI_EMBEDDING_MODEL=model
OPENAI_EMBEDDING_DIMENSION=512
`

func onNode(t *testing.T, text string) (*deployment, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "services.env")
	if text != "" {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := &deployment{settings: settings{root: "../../..", overlay: localOverlay, servers: file, config: map[string]string{"GRAF_SLOTS_GLOBAL": "5"}}}
	return d, d.load()
}

func TestNodeServers(t *testing.T) {
	t.Parallel()
	d, err := onNode(t, servers)
	if err != nil {
		t.Fatal(err)
	}
	config, secret := manifest.Find(d.objects, "ConfigMap", "graf-config"), manifest.Find(d.objects, "Secret", "graf-api")
	if config.At("data", "GRAF_S3_ENDPOINT") != "http://10.200.0.1:19000" || config.At("data", "GRAF_SLOTS_GLOBAL") != "5" {
		t.Errorf("configuration %v", config)
	}
	token, _ := secret.At("stringData", "GRAF_API_BEARER_TOKENS").(string)
	var kept []string
	for caller, file := range map[string]string{"local": "api-token", "lead": "lead-token"} {
		again, err := keptToken(filepath.Join(filepath.Dir(d.settings.servers), file))
		if err != nil || len(again) < 30 || !slices.Contains(strings.Split(token, ", "), caller+"="+again) {
			t.Errorf("tokens %q, kept %q, %v", token, again, err)
		}
		kept = append(kept, again)
	}
	if kept[0] == kept[1] {
		t.Error("two callers have one token")
	}
	for id := range d.required() {
		if _, name, _ := strings.Cut(id, "/"); manifest.Find(d.objects, "Secret", name) == nil {
			t.Errorf("Secret %s is needed and not made", id)
		}
	}
}

func TestNodeServersAreMissing(t *testing.T) {
	t.Parallel()
	for message, text := range map[string]string{
		"do not run":           "",
		"has no GRAF_S3_":      strings.Replace(servers, "GRAF_S3_BUCKET", "BUCKET", 1),
		"listen on loopback":   strings.Replace(servers, "10.200.0.1:15432", "127.0.0.1:15432", 1),
		"has no GRAF_DATABASE": "\n",
	} {
		if _, err := onNode(t, text); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("got %v, want %q", err, message)
		}
	}
}
