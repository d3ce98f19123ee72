package spool

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/problem"
)

// callback takes events as Graf's function does, and fails as it is told.
type callback struct {
	mu sync.Mutex
	// statuses are answered first, one a request.
	statuses []int
	// foreign says that the statuses are of something between, and not Graf's.
	foreign bool
	// poison is the id of an event that is not understood.
	poison string
	header map[string]string
	// lose makes the answer to a request that was taken get lost, so many times.
	lose     int
	ids      []string
	requests []int
}

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, value := range c.header {
		w.Header().Set(name, value)
	}
	if len(c.statuses) > 0 {
		status := c.statuses[0]
		c.statuses = c.statuses[1:]
		if c.foreign || status >= 500 {
			http.Error(w, "as the test wants it", status)
			return
		}
		problem.WriteStatus(w, r, problem.ErrGone.With("as the test wants it"), status)
		return
	}
	var ids []string
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 2*maxBatchBytes)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.ID == c.poison {
			http.Error(w, "not an event: "+e.ID, http.StatusUnprocessableEntity)
			return
		}
		ids = append(ids, e.ID)
	}
	c.requests = append(c.requests, len(ids))
	for _, id := range ids {
		if !slices.Contains(c.ids, id) { // as the function tells them apart
			c.ids = append(c.ids, id)
		}
	}
	if c.lose > 0 {
		c.lose--
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusAccepted)
}

func setup(t *testing.T, c *callback) (*Spool, *Sender) {
	t.Helper()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return open(t, 1<<20), &Sender{
		URL: server.URL, Token: "token", Log: slog.New(slog.DiscardHandler),
	}
}

func open(t *testing.T, limit int64) *Spool {
	t.Helper()
	s, err := Open(t.TempDir(), limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func add(t *testing.T, s *Spool, from, to int) []string {
	t.Helper()
	var ids []string
	for n := from; n < to; n++ {
		id := fmt.Sprintf("e-%d", n)
		if err := s.Add(Event{ID: id, Type: "progress", Content: map[string]any{"n": n}}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func TestDrain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		callback *callback
		skipped  int
		least    time.Duration
	}{
		"at once":               {callback: &callback{}},
		"away":                  {callback: &callback{statuses: []int{503, 502}}, least: time.Second},
		"no route":              {callback: &callback{statuses: []int{404}, foreign: true}, least: 500 * time.Millisecond},
		"a proxy's login":       {callback: &callback{statuses: []int{403}, foreign: true}, least: 500 * time.Millisecond},
		"an answer is lost":     {callback: &callback{lose: 2}},
		"too many":              {callback: &callback{statuses: []int{429}, header: map[string]string{"Retry-After": "1"}}, least: time.Second},
		"one is not understood": {callback: &callback{poison: "e-137"}, skipped: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, sender := setup(t, c.callback)
			want := add(t, s, 0, 250)
			began := time.Now()
			if err := sender.Drain(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			want = slices.DeleteFunc(want, func(id string) bool { return id == c.callback.poison })
			if !slices.Equal(c.callback.ids, want) {
				t.Errorf("got %d events, %v …, want %d", len(c.callback.ids), c.callback.ids[:min(9, len(c.callback.ids))], len(want))
			}
			if sender.Skipped != c.skipped || s.Waiting() != 0 {
				t.Errorf("%d skipped, want %d; %d wait", sender.Skipped, c.skipped, s.Waiting())
			}
			if took := time.Since(began); took < c.least {
				t.Errorf("it took %v, want at least %v", took, c.least)
			}
			if slices.Max(c.callback.requests) > maxBatch {
				t.Errorf("requests of %v events", c.callback.requests)
			}
		})
	}
}

func TestDrainEnds(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 403, 404, 409, 410} {
		s, sender := setup(t, &callback{statuses: []int{status}})
		add(t, s, 0, 3)
		if err := sender.Drain(t.Context(), s); !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "as the test wants it") {
			t.Errorf("status %d: %v", status, err)
		}
	}
	s, sender := setup(t, &callback{statuses: slices.Repeat([]int{503}, 100)})
	add(t, s, 0, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := sender.Drain(ctx, s); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "503") {
		t.Errorf("no time: %v", err)
	}
	if s.Waiting() != 3 {
		t.Errorf("%d wait, want 3", s.Waiting())
	}
}

// TestRun adds from several goroutines while it sends: the order of each is kept.
func TestRun(t *testing.T) {
	t.Parallel()
	c := &callback{lose: 3}
	s, sender := setup(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	var work, adding sync.WaitGroup
	work.Go(func() {
		if err := sender.Run(ctx, s); err != nil {
			t.Error(err)
		}
	})
	const writers, each = 4, 300
	for w := range writers {
		adding.Go(func() {
			for n := range each {
				if err := s.Add(Event{ID: fmt.Sprintf("w%d-%d", w, n), Type: "log"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	adding.Wait()
	for s.Waiting() > 0 && t.Context().Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	work.Wait()
	next := [writers]int{}
	for _, id := range c.ids {
		var w, n int
		if _, err := fmt.Sscanf(id, "w%d-%d", &w, &n); err != nil || n != next[w] {
			t.Fatalf("%s came when %d was next", id, next[w])
		}
		next[w]++
	}
	if len(c.ids) != writers*each {
		t.Errorf("%d events came, want %d", len(c.ids), writers*each)
	}
}

// What answers in Graf's place, as a login page does, has not taken the events, and gets no token by a redirect.
func TestOthersAnswers(t *testing.T) {
	t.Parallel()
	graf := &callback{}
	answers := []http.HandlerFunc{
		func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<h1>Log in</h1>")) },
		graf.ServeHTTP,
	}
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		answers[min(len(asked), len(answers))-1](w, r)
	}))
	t.Cleanup(server.Close)
	s := open(t, 1<<20)
	want := add(t, s, 0, 2)
	sender := &Sender{URL: server.URL + "/events", Log: slog.New(slog.DiscardHandler)}
	if err := sender.Drain(t.Context(), s); err != nil || !slices.Equal(graf.ids, want) {
		t.Errorf("got %v, %v", graf.ids, err)
	}
	if !slices.Equal(asked, slices.Repeat([]string{"POST /events"}, 3)) {
		t.Errorf("asked %v", asked)
	}
}

// In a hurry the end and what was used are sent, and nothing else.
func TestHurry(t *testing.T) {
	t.Parallel()
	c := &callback{}
	s, sender := setup(t, c)
	var want []string
	for n := range 300 {
		e := Event{ID: fmt.Sprintf("e-%d", n), Type: "log", Content: map[string]any{"text": `"eventType":"usage"`}}
		switch n {
		case 7, 250:
			e.Type = "usage"
		case 299:
			e.Type, e.Content = "failed", map[string]any{"reason": strings.Repeat(" ", 300) + `"eventType":"log"`}
		}
		if e.Type != "log" {
			want = append(want, e.ID)
		}
		if err := s.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	sender.Hurry = true
	if err := sender.Drain(t.Context(), s); err != nil || !slices.Equal(c.ids, want) || s.Waiting() != 0 || sender.PassedOver != 297 {
		t.Errorf("got %v, want %v; %d were passed over, %d wait: %v", c.ids, want, sender.PassedOver, s.Waiting(), err)
	}
}

// An answer says that the budget is spent; one that is not understood takes the events nevertheless.
func TestBudgetSpent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ answer, want string }{
		"not":             {`{"events": [], "uploads": []}`, ""},
		"spent":           {`{"events": [], "uploads": [], "budgetSpent": "2 of 1 tokens are used"}`, "2 of 1 tokens are used"},
		"nothing":         {``, ""},
		"of another kind": {`{"budgetSpent": true}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusAccepted)
				_, _ = w.Write([]byte(c.answer))
			}))
			t.Cleanup(server.Close)
			var heard string
			sender := &Sender{
				URL: server.URL, Log: slog.New(slog.DiscardHandler), BudgetSpent: func(what string) { heard += what },
			}
			spool := open(t, 1<<20)
			if err := spool.Add(Event{ID: "1", Type: "heartbeat"}); err != nil {
				t.Fatal(err)
			}
			if err := sender.Drain(t.Context(), spool); err != nil || heard != c.want || spool.Waiting() != 0 {
				t.Errorf("heard %q, want %q; %d wait: %v", heard, c.want, spool.Waiting(), err)
			}
		})
	}
}

func TestAddWhenFull(t *testing.T) {
	t.Parallel()
	c := &callback{}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	s := open(t, 1000)
	sender := &Sender{URL: server.URL, Log: slog.New(slog.DiscardHandler)}
	for round := range 3 {
		var err error
		added := 0
		for err == nil {
			if err = s.Add(Event{ID: fmt.Sprintf("e-%d-%d", round, added), Type: "log"}); err == nil {
				added++
			}
		}
		if !errors.Is(err, ErrFull) || s.Waiting() != added || added < 10 {
			t.Fatalf("after %d events: %v; %d wait", added, err, s.Waiting())
		}
		if err := sender.Drain(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

// An event that no request has room for is refused, and keeps no other from being sent.
func TestAddTooLarge(t *testing.T) {
	t.Parallel()
	c := &callback{}
	s, sender := setup(t, c)
	s.limit = 4 << 20
	for size, want := range map[int]error{maxBatchBytes: ErrTooLarge, maxBatchBytes / 2: nil} {
		if err := s.Add(Event{ID: fmt.Sprint(size), Type: "log", Content: strings.Repeat("x", size)}); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if err := sender.Drain(t.Context(), s); err != nil || len(c.ids) != 1 || s.Waiting() != 0 {
		t.Errorf("%v came, %d wait: %v", c.ids, s.Waiting(), err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	if _, err := Open("/no/such/folder", 1); err == nil {
		t.Error("a folder that is not there was taken")
	}
}

// TestDiskFull is on a device that is always full.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := open(t, 1<<20)
	full := openFull(t)
	s.file, full = full, s.file
	t.Cleanup(func() { _ = full.Close() })
	if err := s.Add(Event{ID: "e", Type: "log"}); !errors.Is(err, ErrFull) {
		t.Errorf("got %v", err)
	}
	if s.Waiting() != 0 {
		t.Errorf("%d wait", s.Waiting())
	}
}

func openFull(t *testing.T) *os.File {
	t.Helper()
	file, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// TestDiskIsGivenBack while events wait, not only when none does.
func TestDiskIsGivenBack(t *testing.T) {
	t.Parallel()
	s := open(t, 1<<20)
	text := strings.Repeat("x", 10_000)
	for n := range 1000 {
		if err := s.Add(Event{ID: fmt.Sprintf("e-%d", n), Type: "log", Content: text}); err != nil {
			t.Fatal(err)
		}
		if n < 10 {
			continue // these stay ahead of what is sent
		}
		b, err := s.next(1)
		if err != nil || !strings.Contains(string(b.lines), fmt.Sprintf(`"e-%d"`, n-10)) {
			t.Fatalf("%.40s came when e-%d was next: %v", b.lines, n-10, err)
		}
		if err := s.remove(b); err != nil {
			t.Fatal(err)
		}
	}
	var info syscall.Stat_t
	if err := syscall.Fstat(int(s.file.Fd()), &info); err != nil {
		t.Fatal(err)
	}
	if onDisk := info.Blocks * 512; info.Size < 10_000_000 || onDisk > 1<<20 {
		t.Errorf("%d bytes on disk, of %d", onDisk, info.Size)
	}
}
