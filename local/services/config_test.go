package services

import (
	"slices"
	"strings"
	"testing"
)

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	valid := Config{DataFolder: "data", Dependencies: Local, PostgresPort: 1, RedisPort: 2, S3Port: 3}
	if err := valid.validate(); err != nil {
		t.Fatalf("a valid one: %v", err)
	}
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"no folder":       {func(c *Config) { c.DataFolder = "" }, "no data folder"},
		"dependencies":    {func(c *Config) { c.Dependencies = "brew" }, "DEPS=brew is unknown: use apt or compose"},
		"port too high":   {func(c *Config) { c.RedisPort = 65536 }, "GRAF_REDIS_PORT is 65536"},
		"port twice":      {func(c *Config) { c.S3Port = 1 }, "are both 1: choose two ports"},
		"listen":          {func(c *Config) { c.Listen = "node0" }, `"node0": give an IP address`},
		"listen, compose": {func(c *Config) { c.Listen, c.Dependencies = "10.0.0.1", Compose }, "not for DEPS=compose"},
		"model's port":    {func(c *Config) { c.Embeddings, c.EmbeddingsPort = "program", 3 }, "are both 3"},
		"Kubernetes":      {func(c *Config) { c.Kubernetes = "program" }, "ask for an ephemeral set on loopback"},
		"database":        {func(c *Config) { c.Existing.DatabaseURL = "host=x password=secret" }, "GRAF_DATABASE_URL is no URL"},
		"S3 without keys": {func(c *Config) { c.Existing.S3.Endpoint = "http://x" }, "without GRAF_S3_ACCESS_KEY_ID"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := valid
			test.change(&config)
			err := config.validate()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	t.Setenv("GRAF_REDIS_PORT", "7000")
	t.Setenv("DEPS", "compose")
	t.Setenv("GRAF_DATABASE_URL", "postgres://platform")
	// Not GRAF_TEST_, which `make test` sets.
	t.Setenv("GRAF_OTHER_S3_ENDPOINT", "http://s3")
	config, err := ConfigFromEnvironment("GRAF_OTHER_")
	if err != nil {
		t.Fatal(err)
	}
	want := Config{Dependencies: Compose, PostgresPort: DefaultPostgresPort, RedisPort: 7000, S3Port: DefaultS3Port, EmbeddingsPort: DefaultEmbeddingsPort}
	want.Existing.S3.Endpoint = "http://s3"
	if config != want {
		t.Errorf("got %+v, want %+v", config, want)
	}
	if !slices.Contains(config.Existing.Environment("GRAF_"), "GRAF_S3_ENDPOINT=http://s3") {
		t.Errorf("as an environment: %v", config.Existing.Environment("GRAF_"))
	}
}
