package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	firstPause = 100 * time.Millisecond
	longest    = 5 * time.Second
	// maxTries is reached after half a minute of an outage.
	maxTries = 12
)

// pause is how long to wait after the try with this number, from 1: twice as
// long each time, and at random between half of it and all of it, so that many
// agents do not come back at once.
func pause(try int) time.Duration {
	most := longest
	if try < 7 {
		most = min(longest, firstPause<<(try-1))
	}
	return most/2 + rand.N(most/2) //nolint:gosec // spreads tries; no secret
}

// wait waits, or returns early with the context's error.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// retryable says whether another try may bring another answer.
func retryable(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500 &&
		status != http.StatusNotImplemented
}

// retryAfter is the wait that an answer asks for, in seconds; 0 for none.
func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, time.Minute)
}
