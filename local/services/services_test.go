package services

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"
)

// inHelper makes the test binary a process that starts the servers in the
// folder it names and then waits to be killed.
const inHelper = "GRAF_SERVICES_TEST_FOLDER"

func TestMain(m *testing.M) {
	if folder := os.Getenv(inHelper); folder != "" {
		serveUntilKilled(folder)
	}
	os.Exit(m.Run())
}

func serveUntilKilled(folder string) {
	port := func(name string) int { n, _ := strconv.Atoi(os.Getenv(name)); return n }
	config := Config{
		DataFolder: folder, Dependencies: Local,
		PostgresPort: port(portOfPostgres), RedisPort: port(portOfRedis), S3Port: port(portOfS3),
	}
	set, err := New(config, slog.Default())
	if err == nil {
		err = set.Start(context.Background())
	}
	if err != nil {
		slog.Error("start", "error", err)
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString("started\n")
	select {}
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// dataFolder is a temporary folder that other users can reach, as Postgres
// needs where root may make no user namespace.
func dataFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Chmod(filepath.Dir(folder), 0o711); err != nil {
		t.Fatal(err)
	}
	return folder
}

// lasting is the configuration of a set that is not ephemeral, on free ports.
func lasting(t *testing.T) Config {
	t.Helper()
	config := Config{DataFolder: dataFolder(t), Dependencies: Local}
	for _, port := range []*int{&config.PostgresPort, &config.RedisPort, &config.S3Port} {
		var err error
		if *port, err = FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	return config
}

func start(t *testing.T, config Config) *Set {
	t.Helper()
	set, err := New(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Start(deadline(t)); err != nil {
		t.Fatal(err)
	}
	return set
}

func stop(t *testing.T, set *Set) {
	t.Helper()
	if err := set.Stop(deadline(t)); err != nil {
		t.Error(err)
	}
}

// query runs one statement and gives its only value.
func query(t *testing.T, databaseURL, statement string) (value string, err error) {
	t.Helper()
	ctx := deadline(t)
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, statement).Scan(&value)
	return value, err
}

func redisClient(t *testing.T, set *Set) *goredis.Client {
	t.Helper()
	options, err := goredis.ParseURL(set.Connection().RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := goredis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestEphemeralSet(t *testing.T) {
	t.Parallel()
	folder := dataFolder(t)
	set := start(t, Config{DataFolder: folder, Ephemeral: true, Dependencies: Local})
	if _, err := query(t, set.Connection().DatabaseURL, "CREATE EXTENSION vector"); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("pgvector: %v", err)
	}
	for _, server := range []Server{set.Postgres, set.Redis, set.S3} {
		t.Run(server.Name(), func(t *testing.T) {
			stopAndStart(t, server)
		})
	}
	stop(t, set)
	if entries, err := os.ReadDir(filepath.Join(folder, "ephemeral")); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func stopAndStart(t *testing.T, server Server) {
	t.Helper()
	ctx := deadline(t)
	p := server.(*process)
	if err := server.Start(ctx); err == nil {
		t.Error("a second start of a server that runs was not refused")
	}
	done := server.Done()
	if err := server.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	<-done
	if err := server.Err(); err != nil {
		t.Errorf("a stopped server has the error %v", err)
	}
	if err := p.probe(ctx); err == nil {
		t.Error("a stopped server answers")
	}
	if err := server.Stop(ctx); err != nil {
		t.Errorf("stopping a stopped server: %v", err)
	}
	if err := server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.probe(ctx); err != nil {
		t.Errorf("a server started again does not answer: %v", err)
	}
}

func TestDataSurvivesRestart(t *testing.T) {
	t.Parallel()
	config := lasting(t)
	set := start(t, config)
	first := set.Connection()
	if _, err := query(t, first.DatabaseURL, "CREATE TABLE kept AS SELECT 'yes' AS value"); !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	if err := redisClient(t, set).Set(deadline(t), "kept", "yes", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := New(config, slog.Default()); !errors.Is(err, ErrFolderInUse) {
		t.Errorf("a second set on the folder: %v, want ErrFolderInUse", err)
	}
	stop(t, set)

	// As in a shell that sourced .graf/env: they point at these very servers.
	config.Existing = first
	set = start(t, config)
	defer stop(t, set)
	if set.Connection() != first {
		t.Errorf("the connection changed from %v to %v", first, set.Connection())
	}
	if value, err := query(t, first.DatabaseURL, "SELECT value FROM kept"); value != "yes" {
		t.Errorf("Postgres kept %q, %v", value, err)
	}
	if value, err := redisClient(t, set).Get(deadline(t), "kept").Result(); value != "yes" {
		t.Errorf("Redis kept %q, %v", value, err)
	}
}

func TestSecretsArePrivate(t *testing.T) {
	t.Parallel()
	config := lasting(t)
	set, err := New(config, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	stop(t, set)
	files, err := filepath.Glob(filepath.Join(config.DataFolder, "*", passwordFile))
	if err != nil || len(files) != 3 {
		t.Fatalf("password files: %v, %v; want three", files, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", file, info.Mode())
		}
	}
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	for variable, portOf := range map[string]func(*Config) *int{
		portOfPostgres: func(c *Config) *int { return &c.PostgresPort },
		portOfRedis:    func(c *Config) *int { return &c.RedisPort },
		portOfS3:       func(c *Config) *int { return &c.S3Port },
	} {
		t.Run(variable, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", address(loopback, 0))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = listener.Close() }()
			config := lasting(t)
			*portOf(&config) = listener.Addr().(*net.TCPAddr).Port
			set, err := New(config, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			err = set.Start(deadline(t))
			if !errors.Is(err, ErrPortTaken) || !strings.Contains(err.Error(), listener.Addr().String()) || !strings.Contains(err.Error(), variable) {
				t.Errorf("got %v; want ErrPortTaken, the port and %s", err, variable)
			}
		})
	}
}

func TestCrashIsReported(t *testing.T) {
	t.Parallel()
	set := start(t, Config{DataFolder: dataFolder(t), Ephemeral: true, Dependencies: Local})
	defer stop(t, set)
	if err := set.Redis.(*process).latest().cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-set.Failed():
		if !strings.Contains(err.Error(), "Redis ended by itself: signal: killed") {
			t.Errorf("reported as: %v", err)
		}
	case <-deadline(t).Done():
		t.Fatal("the crash was not reported")
	}
	if set.Redis.Err() == nil {
		t.Error("Err is nil after a crash")
	}
	if err := set.Redis.Start(deadline(t)); err != nil {
		t.Errorf("start after a crash: %v", err)
	}
}

func TestKilledParentLeavesNoOrphans(t *testing.T) {
	t.Parallel()
	config := lasting(t)
	helper := exec.Command(os.Args[0])
	helper.Env = append(os.Environ(), inHelper+"="+config.DataFolder,
		portOfPostgres+"="+strconv.Itoa(config.PostgresPort), portOfRedis+"="+strconv.Itoa(config.RedisPort), portOfS3+"="+strconv.Itoa(config.S3Port))
	helper.Stderr = os.Stderr
	output, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := output.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = helper.Wait() // tells that it was killed
	// Each start waits for the earlier server's lock, so it succeeds only when
	// the orphans have gone.
	stop(t, start(t, config))
}

func TestExistingServers(t *testing.T) {
	t.Parallel()
	running := start(t, Config{DataFolder: dataFolder(t), Ephemeral: true, Dependencies: Local})
	defer stop(t, running)
	config := lasting(t)
	config.Existing = running.Connection()
	set := start(t, config)
	if set.Connection() != running.Connection() {
		t.Error("the connection is not that of the existing servers")
	}
	stop(t, set)
	if _, err := query(t, running.Connection().DatabaseURL, "SELECT 'yes'"); err != nil {
		t.Errorf("the existing Postgres was stopped: %v", err)
	}

	u, err := url.Parse(running.Connection().RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("", "wrong")
	config.Existing.RedisURL = u.String()
	if set, err = New(config, slog.Default()); err != nil {
		t.Fatal(err)
	}
	if err := set.Start(deadline(t)); err == nil || !strings.Contains(err.Error(), "the existing Redis does not answer: WRONGPASS") {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestAbandonedFoldersAreRemoved(t *testing.T) {
	t.Parallel()
	folder := dataFolder(t)
	config := Config{DataFolder: folder, Ephemeral: true, Dependencies: Local}
	abandoned, err := New(config, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	used, err := New(config, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, used)
	if err := unlock(abandoned.lock); err != nil { // as its process's death does
		t.Fatal(err)
	}
	last, err := New(config, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, last)
	if _, err := os.Stat(abandoned.Folder()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the abandoned folder is still there: %v", err)
	}
	if _, err := os.Stat(used.Folder()); err != nil {
		t.Errorf("the used folder is gone: %v", err)
	}
}
