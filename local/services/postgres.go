package services

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// grafName is the superuser and the database of the private Postgres.
const grafName = "graf"

// passwordFile, in a server's folder, keeps its password.
const passwordFile = "password"

// postgres is what the supervised Postgres needs to know.
type postgres struct {
	folder    string // holds data/
	host      string
	port      int
	password  string
	ephemeral bool
	programs  string // the folder of postgres and initdb; found by prepare
	account   *syscall.SysProcAttr
}

// newPostgres prepares a Postgres of its own in folder.
func newPostgres(folder, host string, port int, ephemeral bool, report func(error)) (Server, string, error) {
	password, err := secret(filepath.Join(folder, passwordFile))
	if err != nil {
		return nil, "", fmt.Errorf("prepare Postgres: %w", err)
	}
	p := &postgres{folder: folder, host: host, port: port, password: password, ephemeral: ephemeral}
	return &process{
		name:         "Postgres",
		folder:       folder,
		address:      address(host, port),
		portVariable: portOfPostgres,
		// SIGINT asks for a fast shutdown: SIGTERM would wait for every client.
		stopSignal: syscall.SIGINT,
		prepare:    p.prepare,
		command:    p.command,
		probe:      func(ctx context.Context) error { return probePostgres(ctx, p.url(grafName)) },
		report:     report,
	}, p.url(grafName), nil
}

func (p *postgres) url(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(grafName, p.password), Host: address(p.host, p.port),
		Path: database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

func (p *postgres) data() string { return filepath.Join(p.folder, "data") }

// accessFile says who may connect: whoever reaches the address it listens on and
// knows the password. initdb's own would let in this machine alone.
func (p *postgres) accessFile() string { return filepath.Join(p.folder, "pg_hba.conf") }

func (p *postgres) writeAccess() error {
	if err := os.WriteFile(p.accessFile(), []byte("host all all all scram-sha-256\n"), 0o600); err != nil {
		return err
	}
	return inheritOwner(p.accessFile())
}

// prepare finds the programs and makes the data folder the first time.
func (p *postgres) prepare(ctx context.Context) error {
	version, err := os.ReadFile(filepath.Join(p.data(), "PG_VERSION"))
	made := err == nil
	if p.programs, err = findPostgres(strings.TrimSpace(string(version))); err != nil {
		return err
	}
	if p.account, err = unprivileged(p.folder); err != nil {
		return err
	}
	if err := p.writeAccess(); err != nil {
		return err
	}
	if made {
		return p.removeStalePID()
	}
	return p.initialise(ctx)
}

// initialise makes the data folder and Graf's database in it, under another
// name first so that one that was interrupted is never taken for a good one.
func (p *postgres) initialise(ctx context.Context) error {
	unfinished := p.data() + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	password := filepath.Join(p.folder, passwordFile)
	if err := inheritOwner(password); err != nil { // initdb reads it
		return err
	}
	arguments := []string{
		"--pgdata", unfinished, "--username", grafName, "--pwfile", password,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8",
	}
	if p.ephemeral {
		arguments = append(arguments, "--no-sync")
	}
	if err := p.runOnce(ctx, "", "initdb", arguments...); err != nil {
		return err
	}
	create := "CREATE DATABASE " + grafName + ";\n"
	if err := p.runOnce(ctx, create, "postgres", "--single", "-D", unfinished, "postgres"); err != nil {
		return err
	}
	return os.Rename(unfinished, p.data())
}

// runOnce runs one of Postgres's programs to its end, with input to read.
func (p *postgres) runOnce(ctx context.Context, input, program string, arguments ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(p.programs, program), arguments...)
	p.confine(cmd)
	cmd.Stdin = strings.NewReader(input)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, bytes.TrimSpace(output))
	}
	return nil
}

// confine gives cmd its folder, its account and only what it needs of the
// environment.
func (p *postgres) confine(cmd *exec.Cmd) {
	cmd.Env, cmd.Dir = environment(), p.folder
	if p.account != nil {
		account := *p.account // each start adds to its own
		cmd.SysProcAttr = &account
	}
}

// removeStalePID removes the pid file that a machine's crash left behind.
// Postgres itself keeps it when the number belongs to any process of the same
// user by now. The folder's lock has told that no server of ours runs.
func (p *postgres) removeStalePID() error {
	path := filepath.Join(p.data(), "postmaster.pid")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, _, _ := strings.Cut(string(text), "\n")
	// A server works in its data folder.
	if folder, err := os.Readlink("/proc/" + pid + "/cwd"); err == nil && folder == p.data() {
		return fmt.Errorf("process %s, a Postgres that Graf did not start, uses %s", pid, p.data())
	}
	return os.Remove(path)
}

func (p *postgres) command() *exec.Cmd {
	settings := []string{
		"listen_addresses=" + p.host,
		"hba_file=" + p.accessFile(),
		"port=" + strconv.Itoa(p.port),
		"unix_socket_directories=", // its path would have to be short
		"max_connections=200",
		"shared_buffers=256MB",
		"effective_cache_size=1GB",
		"work_mem=16MB",
		"maintenance_work_mem=256MB", // an HNSW index is built in it
		"synchronous_commit=on",
		"wal_compression=on",
		"max_wal_size=2GB",
		"checkpoint_timeout=15min",
		"random_page_cost=1.1",   // solid state
		"jit=off",                // compiling costs more than our short queries
		"autovacuum_naptime=15s", // outbox and queue rows die fast
		"password_encryption=scram-sha-256",
		"log_line_prefix=%m [%p] ",
	}
	if p.ephemeral {
		settings = append(settings, "fsync=off", "full_page_writes=off", "synchronous_commit=off",
			"wal_level=minimal", "max_wal_senders=0", "max_connections=400")
	}
	arguments := []string{"-D", p.data()}
	for _, setting := range settings {
		arguments = append(arguments, "-c", setting)
	}
	//nolint:noctx // it outlives the context of its start; Stop ends it
	cmd := exec.Command(filepath.Join(p.programs, "postgres"), arguments...)
	p.confine(cmd)
	return cmd
}

// probePostgres asks whether the server at databaseURL answers a query.
func probePostgres(ctx context.Context, databaseURL string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	return errors.Join(conn.Ping(ctx), conn.Close(ctx))
}
