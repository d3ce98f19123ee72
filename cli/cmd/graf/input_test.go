package main

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// interrupting is standard input that says nothing; who reads it is interrupted.
type interrupting struct {
	interrupt context.CancelFunc
	end       <-chan struct{}
}

// Read implements io.Reader.
func (i interrupting) Read([]byte) (int, error) {
	i.interrupt()
	<-i.end
	return 0, io.EOF
}

// Whoever is asked for something on standard input can interrupt.
func TestInterruptedInput(t *testing.T) {
	t.Setenv("GRAF_CONFIG", filepath.Join(t.TempDir(), "config.yaml"))
	for command, token := range map[string]string{
		"login http://127.0.0.1:1": "", "submit -- true": "x", "submit --file - -- true": "x",
	} {
		t.Run(command, func(t *testing.T) {
			t.Setenv("GRAF_URL", "http://127.0.0.1:1")
			t.Setenv("GRAF_TOKEN", token)
			ctx, cancel := context.WithCancel(t.Context())
			s, out := plain("")
			s.in = interrupting{cancel, t.Context().Done()}
			if status := execute(ctx, strings.Fields(command), s); status != exitInterrupted || !strings.Contains(out.String(), "interrupted") {
				t.Errorf("status %d: %s", status, out)
			}
		})
	}
}
