package services

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Pauses before a server that ended is started again: the first, and the longest
// of those that double with each further end. A run of longer than steadyRun
// begins anew with the first.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 10 * time.Second
	steadyRun  = time.Minute
)

// Keep starts servers that end by themselves again, until ctx ends. The set must
// have been started.
func (s *Set) Keep(ctx context.Context, logger *slog.Logger) {
	var group sync.WaitGroup
	for _, server := range s.servers() {
		group.Go(func() { keep(ctx, server, logger.With("server", server.Name())) })
	}
	group.Wait()
}

func keep(ctx context.Context, server Server, logger *slog.Logger) {
	pause, began := firstPause, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-server.Done():
		}
		if server.Err() == nil {
			return // it was stopped
		}
		if time.Since(began) > steadyRun {
			pause = firstPause
		}
		if pause = startAgain(ctx, server, logger, pause); pause == 0 {
			return
		}
		began = time.Now()
	}
}

// startAgain tries until the server runs and gives the next pause, or 0 when ctx
// has ended.
func startAgain(ctx context.Context, server Server, logger *slog.Logger, pause time.Duration) time.Duration {
	for {
		logger.Warn("server is started again", "pause", pause)
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
		began := time.Now()
		err := server.Start(ctx)
		if ctx.Err() != nil {
			return 0
		}
		if err == nil {
			logger.Warn("server runs again", "took", time.Since(began).Round(time.Millisecond))
			return pause
		}
		logger.Error("server cannot be started again", "error", err)
	}
}
