package retry

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/graf-run/graf/shared/redistest"
)

type manual struct {
	*Bucket
	sync.Mutex
	now time.Time
}

func (b *manual) advance(d time.Duration) {
	b.Lock()
	defer b.Unlock()
	b.now = b.now.Add(d)
}

// setup makes a bucket in the real Redis, with a key prefix of its own, no randomness and a clock that is moved by hand.
// Delays are 1 s, 2 s, then dead.
func setup(t *testing.T) *manual {
	t.Helper()
	client, prefix := redistest.New(t)
	made := &manual{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	config := Config{Base: 2 * time.Second, Max: time.Minute, MaxAttempts: 3, Visibility: 30 * time.Second, DeadLimit: 3}
	var err error
	made.Bucket, err = NewBucket(client, "test", config, Options{
		Prefix: prefix,
		Random: func() float64 { return 0 },
		Clock: func() time.Time {
			made.Lock()
			defer made.Unlock()
			return made.now
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (b *manual) schedule(t *testing.T, id string, failures int, in time.Duration, dead bool) {
	t.Helper()
	due, isDead, err := b.Schedule(t.Context(), id, failures, "because")
	if err != nil || !due.Equal(b.now.Add(in)) || isDead != dead {
		t.Fatalf("Schedule(%s, %d) = in %v, dead %v, %v; want in %v, dead %v", id, failures, due.Sub(b.now), isDead, err, in, dead)
	}
}

func (b *manual) wantDue(t *testing.T, want ...string) []Item {
	t.Helper()
	items, err := b.Due(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, item := range items {
		ids = append(ids, item.ID)
	}
	if !reflect.DeepEqual(ids, want) {
		t.Fatalf("Due() = %v, want %v", ids, want)
	}
	return items
}

func TestScheduleBacksOffUntilDead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.schedule(t, "a", 1, time.Second, false)
	b.advance(999 * time.Millisecond)
	b.wantDue(t)
	b.advance(time.Millisecond)
	item := b.wantDue(t, "a")[0]
	if want := (Item{ID: "a", Failures: 1, Reason: "because", Due: b.now}); item != want {
		t.Errorf("Due() = %+v, want %+v", item, want)
	}
	b.schedule(t, "a", 2, 2*time.Second, false)
	b.advance(2 * time.Second)
	b.wantDue(t, "a")
	b.schedule(t, "a", 3, 0, true)
	b.advance(time.Hour)
	b.wantDue(t)
	dead, err := b.Dead(t.Context(), 10)
	want := []DeadItem{{ID: "a", Failures: 3, Reason: "because", Died: b.now.Add(-time.Hour)}}
	if err != nil || !reflect.DeepEqual(dead, want) {
		t.Errorf("Dead() = %+v, %v; want %+v", dead, err, want)
	}
}

func TestScheduleMayBeRepeated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.schedule(t, "a", 2, 2*time.Second, false)
	b.advance(time.Second)
	b.schedule(t, "a", 2, time.Second, false)
	b.schedule(t, "a", 1, time.Second, false) // Late news of an earlier failure.
	b.schedule(t, "a", 3, 0, true)
	b.schedule(t, "a", 3, 0, true)
	b.schedule(t, "a", 2, 0, true)
}

func TestDueAgainAfterACrash(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.schedule(t, "a", 1, time.Second, false)
	b.advance(time.Second)
	b.wantDue(t, "a")
	b.wantDue(t)
	b.advance(30*time.Second - time.Millisecond)
	b.wantDue(t)
	b.advance(time.Millisecond)
	b.wantDue(t, "a")
	for _, known := range []bool{true, false} {
		if done, err := b.Done(t.Context(), "a"); err != nil || done != known {
			t.Errorf("Done() = %v, %v; want %v", done, err, known)
		}
	}
	b.advance(time.Hour)
	b.wantDue(t)
}

func TestDueIsInOrderAndBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.schedule(t, "later", 2, 2*time.Second, false)
	b.schedule(t, "sooner", 1, time.Second, false)
	b.advance(time.Minute)
	if items, err := b.Due(t.Context(), 1); err != nil || len(items) != 1 || items[0].ID != "sooner" {
		t.Errorf("Due(1) = %+v, %v", items, err)
	}
	b.wantDue(t, "later")
}

func TestEachItemIsHandedOutOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const items, workers = 60, 6
	for i := range items {
		b.schedule(t, fmt.Sprint(i), 1, time.Second, false)
	}
	b.advance(time.Second)
	var mu sync.Mutex
	seen := map[string]int{}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for {
				found, err := b.Due(t.Context(), 7)
				if err != nil {
					t.Error(err)
				}
				if len(found) == 0 {
					return
				}
				mu.Lock()
				for _, item := range found {
					seen[item.ID]++
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if len(seen) != items {
		t.Errorf("%d of %d items handed out", len(seen), items)
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s handed out %d times", id, times)
		}
	}
}

func TestRequeue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.schedule(t, "a", 3, 0, true)
	for _, dead := range []bool{true, false} {
		if requeued, err := b.Requeue(t.Context(), "a"); err != nil || requeued != dead {
			t.Errorf("Requeue() = %v, %v; want %v", requeued, err, dead)
		}
	}
	if item := b.wantDue(t, "a")[0]; item.Failures != 0 || item.Reason != "because" {
		t.Errorf("requeued as %+v", item)
	}
	b.schedule(t, "a", 1, time.Second, false)
}

func TestDeadAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 5 {
		b.schedule(t, fmt.Sprint(i), 3, 0, true)
		b.advance(time.Second)
	}
	dead, err := b.Dead(t.Context(), 100)
	if err != nil || len(dead) != 3 || dead[0].ID != "4" || dead[2].ID != "2" {
		t.Errorf("Dead() = %+v, %v; want the latest three", dead, err)
	}
	if records := b.redis.(*redis.Client).HLen(t.Context(), b.keys[2]).Val(); records != 3 {
		t.Errorf("%d records kept for 3 dead items", records)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.schedule(t, "known", 2, 2*time.Second, false)
	restored, err := b.Restore(t.Context(),
		Item{ID: "known", Failures: 1, Due: b.now}, Item{ID: "lost", Failures: 2, Reason: "wiped", Due: b.now.Add(time.Second)})
	if err != nil || restored != 1 {
		t.Errorf("Restore() = %d, %v", restored, err)
	}
	b.wantDue(t)
	b.advance(time.Second)
	if item := b.wantDue(t, "lost")[0]; item.Failures != 2 || item.Reason != "wiped" {
		t.Errorf("restored as %+v", item)
	}
	b.schedule(t, "lost", 3, 0, true)
}

func TestRestoreBeginsAnewWithTheDead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.schedule(t, "dead", 3, 0, true)
	if restored, err := b.Restore(t.Context(), Item{ID: "dead", Reason: "new work", Due: b.now}); err != nil || restored != 1 {
		t.Errorf("Restore() = %d, %v", restored, err)
	}
	if item := b.wantDue(t, "dead")[0]; item.Failures != 0 || item.Reason != "new work" {
		t.Errorf("restored as %+v", item)
	}
	b.schedule(t, "dead", 1, time.Second, false)
	if dead, err := b.Dead(t.Context(), 10); err != nil || len(dead) != 0 {
		t.Errorf("dead are %v, %v", dead, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, bad := range []Item{{}, {ID: "a"}, {ID: "a", Failures: -1}, {ID: strings.Repeat("x", 513), Failures: 1}} {
		if _, _, err := b.Schedule(t.Context(), bad.ID, bad.Failures, ""); err == nil {
			t.Errorf("Schedule takes %+v", bad)
		}
	}
	if _, _, err := b.Schedule(t.Context(), "a", 1, strings.Repeat("é", 5000)); err != nil {
		t.Error(err)
	}
	b.advance(time.Hour)
	if reason := b.wantDue(t, "a")[0].Reason; len(reason) > maxReasonBytes || !strings.HasPrefix(reason, "éé") {
		t.Errorf("kept a reason of %d bytes", len(reason))
	}
	if _, err := NewBucket(nil, "", DefaultConfig(), Options{}); err == nil {
		t.Error("a bucket without a name")
	}
	if _, err := NewBucket(nil, "x", Config{}, Options{}); err == nil {
		t.Error("a bucket without a configuration")
	}
}

func TestOnRedisClock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.options.Clock = nil
	before := time.Now().Add(-time.Minute)
	due, dead, err := b.Schedule(t.Context(), "a", 1, "")
	if err != nil || dead || due.Before(before) || due.After(time.Now().Add(time.Minute)) {
		t.Errorf("Schedule() = %v, %v, %v", due, dead, err)
	}
}
