package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	goredis "github.com/redis/go-redis/v9"
)

// newRedis prepares a Redis of its own in folder.
func newRedis(folder, host string, port int, ephemeral bool, report func(error)) (Server, string, error) {
	password, err := secret(filepath.Join(folder, passwordFile))
	if err != nil {
		return nil, "", fmt.Errorf("prepare Redis: %w", err)
	}
	// Named, because redis-cli does not take a URL with a password alone.
	u := url.URL{Scheme: "redis", User: url.UserPassword("default", password), Host: address(host, port), Path: "0"}
	var program string
	settings := filepath.Join(folder, "redis.conf")
	return &process{
		name:         "Redis",
		folder:       folder,
		address:      address(host, port),
		portVariable: portOfRedis,
		stopSignal:   syscall.SIGTERM,
		prepare: func(context.Context) error {
			if program, err = findRedis(); err != nil {
				return err
			}
			// A file, for everybody may read a command line.
			return os.WriteFile(settings, redisSettings(folder, host, port, password, ephemeral), 0o600)
		},
		command: func() *exec.Cmd {
			cmd := exec.Command(program, settings) //nolint:noctx // it outlives its start's context; Stop ends it
			cmd.Env, cmd.Dir = environment(), folder
			return cmd
		},
		probe:  func(ctx context.Context) error { return probeRedis(ctx, u.String()) },
		report: report,
	}, u.String(), nil
}

func redisSettings(folder, host string, port int, password string, ephemeral bool) []byte {
	appendOnly := "yes"
	if ephemeral {
		// Kept all the same over a stop and a start, which faults in tests are.
		appendOnly = "yes\nappendfsync no"
	}
	// noeviction: caps and retry buckets are no cache; refuse rather than forget.
	return fmt.Appendf(nil, `bind %s
port %d
dir %q
requirepass %s
appendonly %s
save ""
maxmemory-policy noeviction
daemonize no
`, host, port, folder, password, appendOnly)
}

// probeRedis asks whether the server at redisURL answers and has loaded its data.
func probeRedis(ctx context.Context, redisURL string) error {
	options, err := goredis.ParseURL(redisURL)
	if err != nil {
		return fmt.Errorf("the Redis URL: %w", err)
	}
	// The client would log each refusal, of which a start brings several.
	conn, err := (&net.Dialer{}).DialContext(ctx, options.Network, options.Addr)
	if err != nil {
		return err
	}
	_ = conn.Close() // it was only opened to see whether it can be
	options.MaxRetries = -1
	client := goredis.NewClient(options)
	return errors.Join(client.Ping(ctx).Err(), client.Close())
}
