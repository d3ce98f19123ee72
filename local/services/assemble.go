package services

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// existing is a server that runs already and is only asked whether it answers.
type existing struct {
	name  string
	probe func(ctx context.Context) error
}

// Name implements Server.
func (e existing) Name() string { return e.name }

// Start implements Server: it asks whether the server answers.
func (e existing) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := e.probe(ctx); err != nil {
		return fmt.Errorf("the existing %s does not answer: %w", e.name, err)
	}
	return nil
}

// Stop implements Server and leaves the server as it is.
func (e existing) Stop(context.Context) error { return nil }

// Done implements Server.
func (e existing) Done() <-chan struct{} { return nil }

// Err implements Server.
func (e existing) Err() error { return nil }

// addLocal makes the three servers children of this process.
func (s *Set) addLocal(config Config, report func(error)) error {
	var ports [3]int
	for i, configured := range []int{config.PostgresPort, config.RedisPort, config.S3Port} {
		var err error
		if ports[i], err = config.port(configured); err != nil {
			return err
		}
	}
	var postgresErr, redisErr, s3Err error
	s.Postgres, s.connection.DatabaseURL, postgresErr = newPostgres(filepath.Join(s.folder, "postgres"), config.host(), ports[0], config.Ephemeral, report)
	s.Redis, s.connection.RedisURL, redisErr = newRedis(filepath.Join(s.folder, "redis"), config.host(), ports[1], config.Ephemeral, report)
	s.S3, s.connection.S3, s3Err = newS3(filepath.Join(s.folder, "s3"), config.host(), ports[2], report)
	return errors.Join(postgresErr, redisErr, s3Err)
}

// preferExisting puts servers that exist in the place of those prepared here.
// A setting that points at the very server prepared, as in a shell that
// sourced what graf-local run wrote, names none that exists.
func (s *Set) preferExisting(given Connection) {
	if url := given.DatabaseURL; url != "" && url != s.connection.DatabaseURL {
		s.Postgres = existing{"Postgres", func(ctx context.Context) error { return probePostgres(ctx, url) }}
		s.connection.DatabaseURL = url
	}
	if url := given.RedisURL; url != "" && url != s.connection.RedisURL {
		s.Redis = existing{"Redis", func(ctx context.Context) error { return probeRedis(ctx, url) }}
		s.connection.RedisURL = url
	}
	s3 := given.S3
	if s3.Region == "" {
		s3.Region = defaultRegion
	}
	if s3.Endpoint != "" && s3 != s.connection.S3 {
		s.S3 = existing{"S3", func(ctx context.Context) error { return probeS3(ctx, s3) }}
		s.connection.S3 = s3
	}
}

// host is the address that servers listen on.
func (c Config) host() string {
	if c.Listen == "" {
		return loopback
	}
	return c.Listen
}

// port is the configured one, or for an ephemeral set a free one.
func (c Config) port(configured int) (int, error) {
	if c.Ephemeral {
		return FreePort()
	}
	return configured, nil
}
