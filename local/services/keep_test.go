package services

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An ended server runs again, and so does one whose first start after that fails.
func TestKeepStartsAgain(t *testing.T) {
	t.Parallel()
	p := shell(t, "echo run >> runs; [ $(wc -l < runs) != 2 ] || exit 1; touch ready; exec sleep 1000")
	if err := p.Start(deadline(t)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(deadline(t))
	kept := make(chan struct{})
	go func() {
		keep(ctx, p, slog.New(slog.DiscardHandler))
		close(kept)
	}()
	first := p.latest()
	if err := os.Remove(filepath.Join(p.folder, "ready")); err != nil {
		t.Fatal(err)
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	runs := func() int {
		text, _ := os.ReadFile(filepath.Join(p.folder, "runs"))
		return strings.Count(string(text), "run")
	}
	for tick := time.NewTicker(10 * time.Millisecond); runs() < 3 || p.probe(ctx) != nil; <-tick.C {
		if ctx.Err() != nil {
			t.Fatalf("%d runs; want a third that is ready", runs())
		}
	}
	cancel()
	<-kept
	if err := p.Stop(deadline(t)); err != nil {
		t.Error(err)
	}
}

func TestKeepLeavesTheStopped(t *testing.T) {
	t.Parallel()
	p := shell(t, "touch ready; exec sleep 1000")
	if err := p.Start(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(deadline(t)); err != nil {
		t.Fatal(err)
	}
	keep(deadline(t), p, slog.New(slog.DiscardHandler)) // it returns
	if p.latest().alive() {
		t.Error("a stopped server was started again")
	}
}

func TestEmbeddings(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "graf-embeddings")
	if output, err := exec.Command("go", "build", "-o", program, "../cmd/graf-embeddings").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	config := Config{DataFolder: dataFolder(t), Ephemeral: true, Dependencies: Local, Embeddings: program, Listen: "127.0.0.2"}
	set := start(t, config)
	defer stop(t, set)
	environment := strings.Join(set.EmbeddingsEnvironment(), " ")
	if !strings.Contains(environment, "OPENAI_BASE_URL=http://127.0.0.2:") || !strings.Contains(environment, "OPENAI_EMBEDDING_DIMENSION=") {
		t.Errorf("the model's settings are %s", environment)
	}
	for _, setting := range set.Connection().Environment("") {
		if strings.Contains(setting, "://") && !strings.Contains(setting, "127.0.0.2:") {
			t.Errorf("%s is not on the address that was asked for", strings.SplitN(setting, "=", 2)[0])
		}
	}
	if _, err := query(t, set.Connection().DatabaseURL, "SELECT 'yes'"); err != nil {
		t.Errorf("Postgres on that address: %v", err)
	}
}
