package limiter

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

const (
	// rebuildTime bounds the silence of whoever rebuilds: its lock is lost after that long without a word.
	rebuildTime = 30 * time.Second
	// installMost bounds one script's work.
	installMost = 1000
)

// State is everything that Slots holds.
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

// Snapshot lists who holds a slot, by the end of its lease, and who waits, in order; for a sweeper that compares it
// with the database.
func (s *Slots) Snapshot(ctx context.Context) (State, error) {
	reply, err := s.run(ctx, snapshotScript).Slice()
	if err != nil {
		return State{}, slotsError("snapshot", err)
	}
	tasks, leases, err := pairs(reply)
	if err != nil {
		return State{}, fmt.Errorf("slots: snapshot: %w", err)
	}
	var state State
	for id, record := range tasks {
		task, err := parseTask(id, record)
		if err != nil {
			return State{}, fmt.Errorf("slots: snapshot: %w", err)
		}
		end, held := leases[id]
		if !held {
			state.Waiting = append(state.Waiting, task)
			continue
		}
		ms, err := strconv.ParseFloat(end, 64)
		if err != nil {
			return State{}, fmt.Errorf("slots: snapshot: lease of %s: %w", id, err)
		}
		state.Held = append(state.Held, Lease{Task: task, Until: time.UnixMilli(int64(ms)).UTC()})
	}
	slices.SortFunc(state.Held, func(a, b Lease) int {
		return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(state.Waiting, func(a, b Task) int {
		return cmp.Or(cmp.Compare(a.order(), b.order()), cmp.Compare(a.ID, b.ID))
	})
	return state, nil
}

// pairs turns snapshotScript's two flat lists into maps.
func pairs(reply []any) (tasks, leases map[string]string, err error) {
	maps := [2]map[string]string{{}, {}}
	if len(reply) != len(maps) {
		return nil, nil, errors.New("unexpected reply")
	}
	for i := range maps {
		flat, ok := reply[i].([]any)
		if !ok || len(flat)%2 != 0 {
			return nil, nil, errors.New("unexpected reply")
		}
		for j := 0; j < len(flat); j += 2 {
			maps[i][fmt.Sprint(flat[j])] = fmt.Sprint(flat[j+1])
		}
	}
	return maps[0], maps[1], nil
}
