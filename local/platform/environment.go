package platform

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/graf-run/graf/local/embeddings"
)

// URL is the base URL of the HTTP API.
func (p *Platform) URL() string { return "http://" + p.gateway.Addr().String() }

// BrokerURL is where CloudEvents are sent.
func (p *Platform) BrokerURL() string {
	return "http://" + p.ingress.Addr().String() + "/" + Namespace + "/default"
}

// Token is an API token of the caller "local".
func (p *Platform) Token() string { return p.token }

// Model describes the embedding model in use, for people.
func (p *Platform) Model() string {
	if p.model != nil {
		return fmt.Sprintf("%s (%d dimensions, offline, on this machine)", embeddings.ModelName, embeddings.Dimension)
	}
	model := p.config.EmbeddingModel
	if model == "" {
		model = "text-embedding-3-large"
	}
	return model + " (by OPENAI_API_KEY or OPENAI_BASE_URL)"
}

// functionEnvironment is the environment of a function that listens on address:
// what its container has on a cluster by ConfigMaps and Secrets.
func (p *Platform) functionEnvironment(address string) []string {
	connection := p.services.Connection()
	environment := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + os.Getenv("HOME"),
		"LISTEN_ADDRESS=" + address,
		"K_SINK=" + p.BrokerURL(),
		"KUBECONFIG=" + p.config.folder("kubeconfig"),
		"GRAF_POLICY_FILE=" + p.config.folder("policy.yaml"),
		"GRAF_S3_BUCKET=" + bucket,
		"GRAF_API_BEARER_TOKENS=local=" + p.token,
		"GRAF_CALLBACK_BASE_URL=" + p.URL(),
		"GRAF_MEMORY_BASE_URL=" + p.URL(),
		"GRAF_EVENT_SOURCES=/local/cli=local",
		"GRAF_OPERATORS=local",
		"GRAF_RUNNER_PATH=" + filepath.Join(p.programs(), "graf-runner"),
	}
	environment = append(environment, connection.Environment("GRAF_")...)
	environment = append(environment, p.modelEnvironment()...)
	environment = append(environment, inherited(os.Environ())...)
	if p.config.TemporalAddress != "" {
		environment = append(environment, "GRAF_TEMPORAL_ADDRESS="+p.config.TemporalAddress)
	}
	return append(environment, p.config.Settings...)
}

func (p *Platform) modelEnvironment() []string {
	if p.model != nil {
		return []string{
			"OPENAI_BASE_URL=" + p.model.url() + "/v1", "OPENAI_API_KEY=offline",
			"OPENAI_EMBEDDING_MODEL=" + embeddings.ModelName,
			fmt.Sprintf("OPENAI_EMBEDDING_DIMENSION=%d", embeddings.Dimension),
		}
	}
	var environment []string
	for name, value := range map[string]string{
		"OPENAI_API_KEY": p.config.OpenAIKey, "OPENAI_BASE_URL": p.config.OpenAIBaseURL,
		"OPENAI_EMBEDDING_MODEL": p.config.EmbeddingModel, "OPENAI_EMBEDDING_DIMENSION": p.config.EmbeddingDimension,
	} {
		if value != "" {
			environment = append(environment, name+"="+value)
		}
	}
	return environment
}

// agentSecrets are the Secret graf-agent, which the executions' pods can refer to.
func (p *Platform) agentSecrets() map[string]map[string][]byte {
	if len(p.config.Credentials) == 0 {
		return nil
	}
	data := map[string][]byte{}
	for name, value := range p.config.Credentials {
		data[name] = []byte(value)
	}
	return map[string]map[string][]byte{"graf-agent": data}
}

// own are the variables that the platform sets itself; what a shell has of
// them, from an earlier run's .graf/env, must not reach the functions.
var own = []string{
	"GRAF_URL", "GRAF_TOKEN", "GRAF_BROKER_URL", "GRAF_DATABASE_URL", "GRAF_REDIS_URL", "GRAF_S3_", "GRAF_CALLBACK_BASE_URL",
	"GRAF_MEMORY_BASE_URL", "GRAF_API_BEARER_TOKENS", "GRAF_TEST_",
}

// inherited are the settings of Graf's and OpenTelemetry's that the user gave.
func inherited(environ []string) []string {
	var settings []string
	for _, variable := range environ {
		if !strings.HasPrefix(variable, "GRAF_") && !strings.HasPrefix(variable, "OTEL_") {
			continue
		}
		mine := false
		for _, prefix := range own {
			mine = mine || strings.HasPrefix(variable, prefix)
		}
		if !mine {
			settings = append(settings, variable)
		}
	}
	return settings
}

// programPath lets agents find the example agents that are built beside the functions.
func (p *Platform) programPath() string {
	return p.programs() + string(os.PathListSeparator) + os.Getenv("PATH")
}

// programs is the folder of Graf's programs, absolute where the present folder is known.
func (p *Platform) programs() string {
	programs, err := filepath.Abs(p.config.Programs)
	if err != nil {
		return p.config.Programs
	}
	return programs
}

// writeEnvironment writes .graf/env, which a shell can source.
func (p *Platform) writeEnvironment() error {
	var b strings.Builder
	b.WriteString("# Written by graf-local run: source it to reach the platform.\n")
	variables := []string{
		"GRAF_URL=" + p.URL(), "GRAF_TOKEN=" + p.token, "GRAF_BROKER_URL=" + p.BrokerURL(),
		"KUBECONFIG=" + p.config.folder("kubeconfig"),
	}
	for _, variable := range append(variables, p.services.Connection().Environment("GRAF_")...) {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&b, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	return os.WriteFile(p.config.folder("env"), []byte(b.String()), 0o600)
}

// keptToken reads the API token of this data folder, made at the first start.
func keptToken(path string) (string, error) {
	token, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		token = []byte("graf_local_" + rand.Text())
		err = os.WriteFile(path, token, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("keep the API token: %w", err)
	}
	return string(bytes.TrimSpace(token)), nil
}

// prefixWriter marks the platform's own log lines like those of the functions.
type prefixWriter struct {
	name string
	to   io.Writer
}

// Write implements io.Writer.
func (w *prefixWriter) Write(line []byte) (int, error) {
	if _, err := w.to.Write(formatLine(w.name, line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// Endpoint is something that listens.
type Endpoint struct {
	Name, Address string
}

// Endpoints tells what listens where.
func (p *Platform) Endpoints() []Endpoint {
	connection, given := p.services.Connection(), p.config.Services.Existing
	endpoints := []Endpoint{
		{"HTTP API", p.URL() + "/v1/codex/tasks"},
		{"CloudEvents", p.BrokerURL()},
	}
	for _, name := range p.config.programNames() {
		endpoints = append(endpoints, Endpoint{"function " + name, p.functions[name].url()})
	}
	if p.model != nil {
		endpoints = append(endpoints, Endpoint{"embeddings API", p.model.url() + "/v1"})
	}
	return append(endpoints,
		Endpoint{"Kubernetes API", p.cluster.URL()},
		Endpoint{"Postgres", withoutPassword(connection.DatabaseURL) + existing("GRAF_DATABASE_URL", given.DatabaseURL)},
		Endpoint{"Redis", withoutPassword(connection.RedisURL) + existing("GRAF_REDIS_URL", given.RedisURL)},
		Endpoint{"object storage", connection.S3.Endpoint + existing("GRAF_S3_ENDPOINT", given.S3.Endpoint)},
	)
}

// existing tells that a server is not the platform's own, and by which variable:
// a shell that has sourced another platform's file may not mean to share it.
func existing(variable, value string) string {
	if value == "" {
		return ""
	}
	return " (existing, by " + variable + ")"
}

// EnvironmentFile is the file that a shell can source.
func (p *Platform) EnvironmentFile() string { return p.config.folder("env") }

// withoutPassword is an address that may be shown.
func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(not a URL)"
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}
