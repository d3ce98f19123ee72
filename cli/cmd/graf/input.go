package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/term"
)

// await is what read gives, unless ctx ends before. Nothing ends a read of a terminal or
// a pipe, so it is left behind: the process ends soon.
func await[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// typed is a line that is typed at a terminal, unseen. The terminal is as before when
// it returns, also where ctx has ended.
func (a *app) typed(ctx context.Context, terminal *os.File, what string) (string, error) {
	descriptor := int(terminal.Fd())
	before, err := term.GetState(descriptor)
	if err != nil {
		return "", err
	}
	_, _ = fmt.Fprint(a.err, what+": ")
	line, err := await(ctx, func() ([]byte, error) { return term.ReadPassword(descriptor) })
	_, _ = fmt.Fprintln(a.err)
	if ctx.Err() != nil {
		_ = term.Restore(descriptor, before) // why it was interrupted tells more
	}
	return string(line), err
}
