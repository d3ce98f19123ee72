package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress prints a line for each step that is done, with the time it took.
type progress struct {
	mu    sync.Mutex
	to    io.Writer
	began time.Time
}

func newProgress(to io.Writer) *progress { return &progress{to: to, began: time.Now()} }

// step does one step.
func (p *progress) step(title string, do func() error) error {
	began := time.Now()
	if err := do(); err != nil {
		return err
	}
	p.line(began, title)
	return nil
}

func (p *progress) line(since time.Time, title string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.to, "%6.1f s  %s\n", time.Since(since).Seconds(), title)
}

func (p *progress) note(format string, arguments ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.to, "          "+format+"\n", arguments...)
}
