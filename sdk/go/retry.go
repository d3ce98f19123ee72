package graf

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// Retry says how a call is tried again: no answer, and the statuses 408, 429 and
// 5xx. Calls that may have been carried out although there was no answer, and must
// not be twice (undo, actions), are tried again only where Graf cannot have begun:
// after a refused connection and a 429.
type Retry struct {
	// Attempts is how often is tried in all; 0 is 5, and 14 for Follow and Wait; 1 is never again.
	Attempts int
	// Base is the wait before the second try, which doubles with each up to Max; a
	// random part of up to a half is left out. 0 are 200 ms and 10 s.
	Base, Max time.Duration
	// MaxRetryAfter is the longest Retry-After that is waited for; Graf's refusal
	// is returned if it asks for more. 0 is a minute.
	MaxRetryAfter time.Duration
}

func (r Retry) withDefaults() Retry {
	if r.Attempts <= 0 {
		r.Attempts = 5
	}
	if r.Base <= 0 {
		r.Base = 200 * time.Millisecond
	}
	if r.Max <= 0 {
		r.Max = 10 * time.Second
	}
	if r.MaxRetryAfter <= 0 {
		r.MaxRetryAfter = time.Minute
	}
	return r
}

// wait is how long to wait after so many tries that failed, the last one with err,
// and whether to try again at all.
func (r Retry) wait(tries int, err error, repeatable bool) (time.Duration, bool) {
	if tries >= r.Attempts || !retryable(err, repeatable) {
		return 0, false
	}
	wait := r.backoff(tries)
	if problem, ok := errors.AsType[*Problem](err); ok {
		if problem.RetryAfter > r.MaxRetryAfter {
			return 0, false
		}
		wait = max(wait, problem.RetryAfter)
	}
	return wait, true
}

// backoff is the wait after so many tries.
func (r Retry) backoff(tries int) time.Duration {
	wait := r.Base
	for range tries - 1 {
		wait = min(2*wait, r.Max)
	}
	wait = min(wait, r.Max)
	return wait - rand.N(wait/2+1) //nolint:gosec // it spreads clients, it keeps no secret
}

func retryable(err error, repeatable bool) bool {
	if _, ok := errors.AsType[*finalError](err); ok {
		return false
	}
	if problem, ok := errors.AsType[*Problem](err); ok {
		return problem.Status == http.StatusTooManyRequests || repeatable && errors.Is(problem, ErrUnavailable) &&
			problem.Status != http.StatusNotImplemented
	}
	operation, dialled := errors.AsType[*net.OpError](err)
	return repeatable || dialled && operation.Op == "dial"
}

// finalError is what another try cannot mend.
type finalError struct{ error }

// Unwrap is the error itself.
func (e *finalError) Unwrap() error { return e.error }

// final marks err as what another try cannot mend; nil stays nil.
func final(err error) error {
	if err == nil {
		return nil
	}
	return &finalError{err}
}

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
