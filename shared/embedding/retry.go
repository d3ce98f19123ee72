package embedding

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	// firstWait is the wait before the first repetition; it doubles with each.
	firstWait = 250 * time.Millisecond
	// longestWait bounds one wait. If the provider asks for more, Embed fails at
	// once and says so in Error.RetryAfter: the retry bucket waits better.
	longestWait = 5 * time.Second
)

// wait is how long to wait before repeating a call that failed with e for the
// n-th time, counted from 0, and whether to repeat it at all.
func (e *Error) wait(ctx context.Context, n int) (time.Duration, bool) {
	pause := min(firstWait<<min(n, 10), longestWait)
	pause = pause/2 + rand.N(pause/2) //nolint:gosec // spread, so that clients do not come back all at once; nothing to guess
	pause = max(pause, e.RetryAfter)
	if !e.repeat || pause > longestWait {
		return 0, false
	}
	deadline, ok := ctx.Deadline()
	return pause, !ok || time.Until(deadline) > pause
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// maxRetryAfter bounds what is believed of a Retry-After header.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads how long a response asks us to wait: Retry-After-Ms, as
// OpenAI sends, or RFC 9110's Retry-After in seconds or as a date.
func retryAfter(header http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseUint(header.Get("Retry-After-Ms"), 10, 32); err == nil {
		return min(time.Duration(ms)*time.Millisecond, maxRetryAfter)
	}
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, maxRetryAfter.Seconds()) * float64(time.Second))
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(date.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
