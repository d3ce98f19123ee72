package limiter

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestEverythingRefusesUntilRebuilt(t *testing.T) {
	t.Parallel()
	slots, clock := newSlots(t, SlotsConfig{Global: 2})
	enqueue(t, slots, task(1, "a", "x"), task(2, "b"), task(3, "a"))
	wantAdmitted(t, slots, "t1", "t2")
	wipe(t, slots)
	for name, call := range map[string]func() error{
		"Enqueue": func() error { return slots.Enqueue(t.Context(), task(4, "a")) },
		"Admit":   func() error { _, err := slots.Admit(t.Context(), 1); return err },
		"Both":    func() error { _, err := slots.EnqueueAndAdmit(t.Context(), task(4, "a"), 1); return err },
		"Extend":  func() error { return slots.Extend(t.Context(), "t1", clock.in(time.Hour)) },
		"Release": func() error { _, err := slots.Release(t.Context(), "t1"); return err },
		"Remove":  func() error { _, err := slots.Remove(t.Context(), "t3"); return err },
		"Held":    func() error { _, err := slots.Held(t.Context()); return err },
		"Count":   func() error { _, _, err := slots.Count(t.Context()); return err },
	} {
		if err := call(); !errors.Is(err, ErrRebuild) {
			t.Errorf("%s: %v, want ErrRebuild", name, err)
		}
	}
	state := State{
		Held:    []Lease{{Task: task(1, "a", "x"), Until: clock.in(time.Minute)}, {Task: task(2, "b"), Until: clock.in(time.Hour)}},
		Waiting: []Task{task(3, "a"), task(2, "b")},
	}
	rebuild(t, slots, state)
	wantCount(t, slots, 2, 1)
	wantAdmitted(t, slots)
	release(t, slots, "t1", true)
	wantAdmitted(t, slots, "t3")
}

func TestRebuildOfOverfullSlotsAdmitsNothingUntilBelow(t *testing.T) {
	t.Parallel()
	slots, clock := newSlots(t, SlotsConfig{PerNamespace: 1, LookAhead: 9})
	wipe(t, slots)
	until := clock.in(time.Hour)
	rebuild(t, slots, State{
		Held:    []Lease{{Task: task(1, "a", "x"), Until: until}, {Task: task(2, "a", "x"), Until: until}},
		Waiting: []Task{task(3, "a", "x")},
	})
	release(t, slots, "t1", true)
	wantAdmitted(t, slots)
	release(t, slots, "t2", true)
	wantAdmitted(t, slots, "t3")
}

func TestRebuildHappensOnce(t *testing.T) {
	t.Parallel()
	slots, _ := newSlots(t, SlotsConfig{})
	unwanted := func(context.Context) (State, error) {
		t.Error("loaded while there is nothing to rebuild, or while another rebuilds")
		return State{}, nil
	}
	if rebuilt, err := slots.Rebuild(t.Context(), unwanted); rebuilt || err != nil {
		t.Errorf("Rebuild() of what is there = %v, %v", rebuilt, err)
	}
	wipe(t, slots)
	rebuilt, err := slots.Rebuild(t.Context(), func(ctx context.Context) (State, error) {
		if rebuilt, err := slots.Rebuild(ctx, unwanted); rebuilt || err != nil {
			t.Errorf("a second Rebuild() = %v, %v", rebuilt, err)
		}
		return State{Waiting: []Task{task(1, "a")}}, nil
	})
	if !rebuilt || err != nil {
		t.Errorf("Rebuild() = %v, %v", rebuilt, err)
	}
	wantAdmitted(t, slots, "t1")
}

func TestRebuildLosesToAnotherWipe(t *testing.T) {
	t.Parallel()
	slots, _ := newSlots(t, SlotsConfig{})
	wipe(t, slots)
	rebuilt, err := slots.Rebuild(t.Context(), func(context.Context) (State, error) {
		wipe(t, slots) // as if somebody else did it
		return State{Waiting: []Task{task(1, "a")}}, nil
	})
	if rebuilt || !errors.Is(err, ErrRebuild) {
		t.Errorf("Rebuild() = %v, %v; want ErrRebuild", rebuilt, err)
	}
	rebuild(t, slots, State{})
	wantCount(t, slots, 0, 0)
}

func TestFailedRebuildLetsTheNextOneTry(t *testing.T) {
	t.Parallel()
	slots, _ := newSlots(t, SlotsConfig{})
	wipe(t, slots)
	broken := errors.New("database down")
	if _, err := slots.Rebuild(t.Context(), func(context.Context) (State, error) { return State{}, broken }); !errors.Is(err, broken) {
		t.Errorf("Rebuild() = %v", err)
	}
	bad := func(context.Context) (State, error) { return State{Held: []Lease{{Task: task(1, "a")}}}, nil }
	if _, err := slots.Rebuild(t.Context(), bad); err == nil {
		t.Error("a lease without an end is taken")
	}
	rebuild(t, slots, State{})
}

func TestRebuildInParts(t *testing.T) {
	t.Parallel()
	slots, _ := newSlots(t, SlotsConfig{})
	wipe(t, slots)
	state := State{Waiting: make([]Task, 2*installMost+1)}
	for i := range state.Waiting {
		state.Waiting[i] = task(i, "a")
	}
	rebuild(t, slots, state)
	wantCount(t, slots, 0, len(state.Waiting))
}

// A restarted server may come back with an old snapshot: its run id is another then.
func TestAnotherServerNeedsRebuild(t *testing.T) {
	t.Parallel()
	slots, _ := newSlots(t, SlotsConfig{})
	enqueue(t, slots, task(1, "a"))
	client := slots.redis.(*redis.Client)
	if err := client.Set(t.Context(), slots.keys[0], "the run id of a former server", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := slots.Admit(t.Context(), 1); !errors.Is(err, ErrRebuild) {
		t.Errorf("Admit() = %v, want ErrRebuild", err)
	}
	rebuild(t, slots, State{})
	wantCount(t, slots, 0, 0)
}

func TestRebuildPutsBackWhatThereWas(t *testing.T) {
	t.Parallel()
	slots, clock := newSlots(t, SlotsConfig{Global: 2})
	tasks := []Task{task(1, "a", "x", "y"), task(2, "b"), task(3, "a"), task(4, "c", "z")}
	tasks[3].Priority = 7
	enqueue(t, slots, tasks...)
	wantAdmitted(t, slots, "t4", "t1")
	if err := slots.Extend(t.Context(), "t4", clock.in(time.Hour)); err != nil {
		t.Fatal(err)
	}
	before := stored(t, slots)
	wipe(t, slots)
	rebuild(t, slots, State{
		Held:    []Lease{{Task: tasks[3], Until: clock.in(time.Hour)}, {Task: tasks[0], Until: clock.in(time.Minute)}},
		Waiting: tasks[1:3],
	})
	if after := stored(t, slots); !reflect.DeepEqual(before, after) {
		t.Errorf("Redis has %v; before the wipe it had %v", after, before)
	}
}

// stored is all that slots have in Redis.
func stored(t *testing.T, slots *Slots) []any {
	t.Helper()
	client := slots.redis.(*redis.Client)
	tasks, err := client.HGetAll(t.Context(), slots.keys[1]).Result()
	usage, usageErr := client.HGetAll(t.Context(), slots.keys[5]).Result()
	all := []any{tasks, usage}
	for _, key := range slots.keys[2:5] {
		set, setErr := client.ZRangeWithScores(t.Context(), key, 0, -1).Result()
		all, err = append(all, set), errors.Join(err, setErr)
	}
	if err := errors.Join(err, usageErr); err != nil {
		t.Fatal(err)
	}
	return all
}

// The sweep asks each tick: what that costs Redis, which does nothing else meanwhile, must not grow with those that wait.
func TestHeldLooksAtNoneThatWaits(t *testing.T) {
	t.Parallel()
	slots, clock := newSlots(t, SlotsConfig{Global: 2})
	enqueue(t, slots, task(1, "a"), task(2, "b"), task(3, "a"))
	wantAdmitted(t, slots, "t1", "t2")
	if err := slots.Extend(t.Context(), "t1", clock.in(time.Hour)); err != nil {
		t.Fatal(err)
	}
	// Without what is known of each task; a look at it would find nothing.
	if err := slots.redis.(*redis.Client).Del(t.Context(), slots.keys[1:4]...).Err(); err != nil {
		t.Fatal(err)
	}
	if held, err := slots.Held(t.Context()); err != nil || !slices.Equal(held, []string{"t2", "t1"}) {
		t.Errorf("Held() = %v, %v; want the slots by the end of their leases", held, err)
	}
}
