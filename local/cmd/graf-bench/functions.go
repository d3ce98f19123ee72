package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/graf-run/graf/local/services"
)

// functionNames are the functions, in the order of the flow.
var functionNames = []string{"submit", "callback", "memory", "embed", "launch", "finalize"}

// MiB and MB: memory is counted in the former, files in the latter.
const (
	mebibyte = 1 << 20
	megabyte = 1e6
)

// benchFunctions measures what scaling from zero costs: the time from exec to
// the first 200 of the readiness probe, resident memory then and after the
// pipeline's load, and the size of the program.
func benchFunctions(ctx context.Context, e *environment) error {
	running, err := children()
	if err != nil {
		return err
	}
	for _, name := range functionNames {
		if err := e.benchStart(ctx, name, running[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	c := newClient(e.platform.URL(), e.platform.Token())
	defer c.close()
	if _, err := c.submitAll(ctx, e.options.tasks, distinctPrompt); err != nil {
		return err
	}
	if err := e.awaitAll(ctx); err != nil {
		return err
	}
	for _, name := range functionNames {
		resident, err := residentBytes(running[name])
		if err != nil {
			return err
		}
		e.report.add(name+": resident after load", "MiB", float64(resident)/mebibyte, atMost(40))
	}
	return nil
}

// benchStart starts another instance of a function, as the one that runs was.
func (e *environment) benchStart(ctx context.Context, name string, running int) error {
	program := filepath.Join(e.options.programs, name)
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	port, err := services.FreePort()
	if err != nil {
		return err
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", running))
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(strings.Split(strings.TrimRight(string(environ), "\x00"), "\x00"), "LISTEN_ADDRESS="+address)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it ends then, which is all there is to know
		_ = cmd.Wait()
	}()
	if err := awaitReady(ctx, "http://"+address+"/health/readiness"); err != nil {
		return err
	}
	took := time.Since(began)
	resident, err := residentBytes(cmd.Process.Pid)
	if err != nil {
		return err
	}
	e.report.add(name+": exec to ready", "ms", milliseconds(took), atMost(200))
	e.report.add(name+": resident when ready", "MiB", float64(resident)/mebibyte, atMost(40))
	e.report.add(name+": program", "MB", float64(info.Size())/megabyte, atMost(40))
	return nil
}

func awaitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", context.Cause(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
}
