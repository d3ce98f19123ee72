package limiter

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// task is a valid task whose age follows from its number.
func task(number int, caller string, namespaces ...string) Task {
	created := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(number) * time.Second)
	return Task{ID: fmt.Sprintf("t%d", number), Caller: caller, Namespaces: namespaces, CreatedAt: created}
}

func enqueue(t *testing.T, slots *Slots, tasks ...Task) {
	t.Helper()
	if err := slots.Enqueue(t.Context(), tasks...); err != nil {
		t.Fatal(err)
	}
}

func wantAdmitted(t *testing.T, slots *Slots, want ...string) {
	t.Helper()
	got, err := slots.Admit(t.Context(), 100)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("Admit() = %v, %v; want %v", got, err, want)
	}
}

func wantCount(t *testing.T, slots *Slots, held, waiting int) {
	t.Helper()
	gotHeld, gotWaiting, err := slots.Count(t.Context())
	if err != nil || gotHeld != held || gotWaiting != waiting {
		t.Fatalf("Count() = %d held, %d waiting, %v; want %d, %d", gotHeld, gotWaiting, err, held, waiting)
	}
}

func release(t *testing.T, slots *Slots, id string, want bool) {
	t.Helper()
	if freed, err := slots.Release(t.Context(), id); err != nil || freed != want {
		t.Fatalf("Release(%s) = %v, %v; want %v", id, freed, err, want)
	}
}

func TestAdmitByPriorityThenAge(t *testing.T) {
	t.Parallel()
	slots, _ := newSlots(t, SlotsConfig{})
	urgent := task(9, "bob", "y")
	urgent.Priority = 9
	middle := task(8, "alice")
	middle.Priority = 5
	enqueue(t, slots, task(3, "alice", "x"), task(1, "bob"), middle, task(2, "alice", "x"), urgent)
	wantAdmitted(t, slots, "t9", "t8", "t1", "t2", "t3")
	wantCount(t, slots, 5, 0)
}

func TestAdmitKeepsEveryCap(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config SlotsConfig
		tasks  []Task
		want   []string
	}{
		"global": {SlotsConfig{Global: 2}, []Task{task(1, "a"), task(2, "b"), task(3, "c")}, []string{"t1", "t2"}},
		"caller": {SlotsConfig{PerCaller: 1, LookAhead: 9}, []Task{task(1, "a"), task(2, "a"), task(3, "b")}, []string{"t1", "t3"}},
		"each of several namespaces": {
			SlotsConfig{PerNamespace: 1, LookAhead: 9},
			[]Task{task(1, "a", "x", "y"), task(2, "a", "y", "z"), task(3, "a", "z"), task(4, "a", "x")},
			[]string{"t1", "t3"},
		},
		"a namespace named twice counts once": {SlotsConfig{PerNamespace: 1}, []Task{task(1, "a", "x", "x")}, []string{"t1"}},
		"bounded look-ahead": {
			SlotsConfig{PerCaller: 1, LookAhead: 0},
			[]Task{task(1, "a"), task(2, "a"), task(3, "b")}, []string{"t1"},
		},
		"none": {SlotsConfig{}, []Task{task(1, "a", "x"), task(2, "a", "x")}, []string{"t1", "t2"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slots, _ := newSlots(t, test.config)
			enqueue(t, slots, test.tasks...)
			wantAdmitted(t, slots, test.want...)
			wantAdmitted(t, slots)
		})
	}
}

func TestLongBacklogHidesNobody(t *testing.T) {
	t.Parallel()
	slots, _ := newSlots(t, SlotsConfig{PerCaller: 1, LookAhead: 1})
	backlog := make([]Task, 900)
	for i := range backlog {
		backlog[i] = task(i, "flood")
	}
	enqueue(t, slots, backlog...)
	enqueue(t, slots, task(1000, "quiet"))
	wantAdmitted(t, slots, "t0", "t1000")
}

func TestOperationsMayBeRepeated(t *testing.T) {
	t.Parallel()
	slots, _ := newSlots(t, SlotsConfig{Global: 1})
	for range 2 {
		enqueue(t, slots, task(1, "a", "x"), task(2, "a", "x"))
		wantCount(t, slots, 0, 2)
	}
	wantAdmitted(t, slots, "t1")
	enqueue(t, slots, task(1, "a", "x"))
	wantCount(t, slots, 1, 1)
	for _, removed := range []bool{true, false} {
		if got, err := slots.Remove(t.Context(), "t2"); err != nil || got != removed {
			t.Errorf("Remove(t2) = %v, %v; want %v", got, err, removed)
		}
	}
	if removed, err := slots.Remove(t.Context(), "t1"); err != nil || removed {
		t.Errorf("Remove of a task that holds a slot = %v, %v", removed, err)
	}
	release(t, slots, "t1", true)
	release(t, slots, "t1", false)
	wantCount(t, slots, 0, 0)
	ids, err := slots.EnqueueAndAdmit(t.Context(), task(3, "a"), 1)
	if err != nil || !slices.Equal(ids, []string{"t3"}) {
		t.Errorf("EnqueueAndAdmit() = %v, %v", ids, err)
	}
	release(t, slots, "t3", true)
	wantEmpty(t, slots)
}

func TestReleaseLeavesWaitingTasks(t *testing.T) {
	t.Parallel()
	slots, _ := newSlots(t, SlotsConfig{})
	enqueue(t, slots, task(1, "a"))
	release(t, slots, "t1", false)
	wantAdmitted(t, slots, "t1")
}

func TestLeasesExpire(t *testing.T) {
	t.Parallel()
	slots, clock := newSlots(t, SlotsConfig{Global: 1, LaunchLease: time.Second})
	enqueue(t, slots, task(1, "a", "x"), task(2, "a", "x"), task(3, "a", "x"))
	wantAdmitted(t, slots, "t1")
	clock.advance(999 * time.Millisecond)
	wantAdmitted(t, slots)
	if err := slots.Extend(t.Context(), "t1", clock.in(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := slots.Extend(t.Context(), "t1", clock.in(time.Second)); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Hour - time.Millisecond)
	wantAdmitted(t, slots)
	clock.advance(time.Millisecond)
	if err := slots.Extend(t.Context(), "t1", clock.in(time.Hour)); !errors.Is(err, ErrNotHeld) {
		t.Errorf("Extend of an expired lease: %v, want ErrNotHeld", err)
	}
	wantAdmitted(t, slots, "t2")
	wantCount(t, slots, 1, 1)
}

func TestRefusedTasks(t *testing.T) {
	t.Parallel()
	slots, _ := newSlots(t, SlotsConfig{})
	for name, mend := range map[string]func(*Task){
		"id":           func(t *Task) { t.ID = "" },
		"caller":       func(t *Task) { t.Caller = "a\x1fb" },
		"namespace":    func(t *Task) { t.Namespaces = []string{"a\x1eb"} },
		"namespaces":   func(t *Task) { t.Namespaces = make([]string, 51) },
		"priority":     func(t *Task) { t.Priority = 10 },
		"low priority": func(t *Task) { t.Priority = -1 },
		"time":         func(t *Task) { t.CreatedAt = time.Time{} },
	} {
		bad := task(1, "a", "x")
		mend(&bad)
		if err := slots.Enqueue(t.Context(), bad); err == nil {
			t.Errorf("a task with a bad %s is taken", name)
		}
	}
	if _, err := slots.Admit(t.Context(), -1); err == nil {
		t.Error("Admit(-1) succeeds")
	}
	wantCount(t, slots, 0, 0)
}

func TestAttemptID(t *testing.T) {
	t.Parallel()
	if id, attempt, err := ParseAttemptID(AttemptID("0190-ab", 3)); err != nil || id != "0190-ab" || attempt != 3 {
		t.Errorf("%q, %d, %v", id, attempt, err)
	}
	for _, bad := range []string{"", "x", "x.", ".1", "x.0", "x.y"} {
		if _, _, err := ParseAttemptID(bad); err == nil {
			t.Errorf("%q is taken for an attempt's id", bad)
		}
	}
}

func TestSlotsConfigValidate(t *testing.T) {
	t.Parallel()
	for _, bad := range []SlotsConfig{
		{Global: -1, LaunchLease: time.Second}, {}, {LaunchLease: 2 * time.Hour},
		{LaunchLease: time.Second, LookAhead: -1},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken for valid", bad)
		}
	}
}
