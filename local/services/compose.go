package services

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/graf-run/graf/local"
)

// composeTimeout bounds a call of Docker Compose, which may fetch an image.
const composeTimeout = 10 * time.Minute

// project is one run of local/compose.yaml.
type project struct {
	mu        sync.Mutex // two commands at once would both make the network
	name      string
	variables []string
	ephemeral bool
}

// composed is one server of a project. Docker, not this process, supervises it.
type composed struct {
	project *project
	name    string // what people call it
	service string // its name in the compose file
	probe   func(ctx context.Context) error
}

// addCompose makes all three servers parts of one Docker Compose project.
func (s *Set) addCompose(config Config) error {
	password, err := secret(filepath.Join(s.folder, passwordFile))
	if err != nil {
		return err
	}
	ports := []int{config.PostgresPort, config.RedisPort, config.S3Port}
	for i := range ports {
		if ports[i], err = config.port(ports[i]); err != nil {
			return err
		}
	}
	database := url.URL{Scheme: "postgres", User: url.UserPassword(grafName, password), Host: address(loopback, ports[0]), Path: grafName, RawQuery: "sslmode=disable"}
	redis := url.URL{Scheme: "redis", User: url.UserPassword("default", password), Host: address(loopback, ports[1]), Path: "0"}
	connection := Connection{
		DatabaseURL: database.String(), RedisURL: redis.String(),
		S3: S3Connection{Endpoint: "http://" + address(loopback, ports[2]), Region: defaultRegion, AccessKeyID: grafName, SecretAccessKey: password},
	}
	p := newProject(s.folder, config.Ephemeral, password, ports)
	s.compose, s.connection = p, connection
	s.Postgres = &composed{p, "Postgres", "postgres", func(ctx context.Context) error { return probePostgres(ctx, connection.DatabaseURL) }}
	s.Redis = &composed{p, "Redis", "redis", func(ctx context.Context) error { return probeRedis(ctx, connection.RedisURL) }}
	s.S3 = &composed{p, "MinIO", "s3", func(ctx context.Context) error { return probeS3(ctx, connection.S3) }}
	return nil
}

func newProject(folder string, ephemeral bool, password string, ports []int) *project {
	// A project of its own for each data folder, as volumes belong to projects.
	digest := fnv.New32a()
	_, _ = digest.Write([]byte(folder)) // never fails
	return &project{
		name:      fmt.Sprintf("graf-%08x", digest.Sum32()),
		ephemeral: ephemeral,
		variables: []string{
			"GRAF_PASSWORD=" + password,
			"GRAF_S3_ACCESS_KEY_ID=" + grafName,
			"GRAF_S3_SECRET_ACCESS_KEY=" + password,
			portOfPostgres + "=" + strconv.Itoa(ports[0]),
			portOfRedis + "=" + strconv.Itoa(ports[1]),
			portOfS3 + "=" + strconv.Itoa(ports[2]),
		},
	}
}

// compose runs one Docker Compose command on the project.
func (p *project) compose(ctx context.Context, arguments ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, composeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", append([]string{"compose", "--project-name", p.name, "--file", "-"}, arguments...)...)
	cmd.Env = append(os.Environ(), p.variables...) // docker itself needs HOME, DOCKER_HOST and more
	cmd.Stdin = bytes.NewReader(local.Compose)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker compose %s: %w\n%s", arguments[0], err, bytes.TrimSpace(output))
	}
	return nil
}

// Name implements Server.
func (c *composed) Name() string { return c.name }

// Start implements Server.
func (c *composed) Start(ctx context.Context) error {
	if err := c.project.compose(ctx, "up", "--detach", "--wait", "--no-deps", c.service); err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := c.probe(ctx); err != nil {
		return fmt.Errorf("%s runs in Docker but does not answer: %w", c.name, err)
	}
	return nil
}

// Stop implements Server.
func (c *composed) Stop(ctx context.Context) error {
	if err := c.project.compose(ctx, "stop", c.service); err != nil {
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	return nil
}

// remove removes the containers, and the volumes of what is ephemeral.
func (p *project) remove(ctx context.Context) error {
	if p.ephemeral {
		return p.compose(ctx, "down", "--volumes")
	}
	return p.compose(ctx, "down")
}

// Done implements Server.
func (c *composed) Done() <-chan struct{} { return nil }

// Err implements Server.
func (c *composed) Err() error { return nil }
