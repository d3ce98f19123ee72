package limiter

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

const (
	// rebuildTime bounds the silence of whoever rebuilds: its lock is lost after that long without a word.
	rebuildTime = 30 * time.Second
	// installMost bounds one script's work.
	installMost = 1000
)

// State is everything that Slots holds, as the database knows it: what Rebuild puts back.
type State struct {
	Held    []Lease
	Waiting []Task
}

// Rebuild puts back what Redis has lost and says whether it did; false means that there was nothing to do or that
// somebody else is at it, and that the caller should try its operation again later. load reads the truth and must take
// less than 30 s; it is called under a lock, after which nothing is admitted until the rebuild is done or has failed.
// Held tasks are counted even where they exceed a cap, so that nothing more is admitted until they are below it. A
// task named as held and as waiting is held.
func (s *Slots) Rebuild(ctx context.Context, load func(context.Context) (State, error)) (bool, error) {
	token := rand.Text()
	locked, err := s.run(ctx, lockScript, token, rebuildTime.Milliseconds()).Bool()
	if err != nil || !locked {
		return false, slotsError("rebuild", err)
	}
	if err := s.loadAndInstall(ctx, token, load); err != nil {
		// The next one need not wait for the lock to run out. Best effort: it does run out.
		unlock, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = s.run(unlock, unlockScript, token).Err()
		return false, err
	}
	return true, nil
}

func (s *Slots) loadAndInstall(ctx context.Context, token string, load func(context.Context) (State, error)) error {
	loading, cancel := context.WithTimeout(ctx, rebuildTime)
	defer cancel()
	state, err := load(loading)
	if err != nil {
		return fmt.Errorf("slots: load what to rebuild: %w", err)
	}
	args, err := state.installArgs()
	if err != nil {
		return fmt.Errorf("slots: rebuild: %w", err)
	}
	for {
		part := args[:min(len(args), 4*installMost)]
		args = args[len(part):]
		last := len(args) == 0
		prefix := []any{token, rebuildTime.Milliseconds(), last}
		kept, err := s.run(ctx, installScript, append(prefix, part...)...).Bool()
		if err != nil {
			return slotsError("rebuild", err)
		}
		if !kept {
			return fmt.Errorf("slots: the rebuild lost its lock, another is needed: %w", ErrRebuild)
		}
		if last {
			return nil
		}
	}
}

// installArgs are four values for each task, held ones first.
func (s State) installArgs() ([]any, error) {
	args := make([]any, 0, 4*(len(s.Held)+len(s.Waiting)))
	for _, lease := range s.Held {
		if err := lease.validate(); err != nil {
			return nil, err
		}
		if lease.Until.UnixMilli() <= 0 {
			return nil, fmt.Errorf("task %s: its lease has no end", lease.ID)
		}
		args = append(args, lease.ID, lease.order(), lease.group(), lease.Until.UnixMilli())
	}
	for _, task := range s.Waiting {
		if err := task.validate(); err != nil {
			return nil, err
		}
		args = append(args, task.ID, task.order(), task.group(), 0)
	}
	return args, nil
}
