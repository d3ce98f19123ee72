package callback_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/problem"
)

// TestConcurrentReports has clients send overlapping reports of one task at the
// same time: every event is stored once, numbered without holes, and announced
// once, and every client is told the same number.
func TestConcurrentReports(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	const clients, reports = 8, 6
	var mu sync.Mutex
	sequences := map[string]int64{}
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for report := range reports {
				// Two clients each send the same events, in opposite order.
				a, b := fmt.Sprintf("%d-%d-a", client/2, report), fmt.Sprintf("%d-%d-b", client/2, report)
				if client%2 == 1 {
					a, b = b, a
				}
				accepted := w.post(k, "["+event(a, "x")+","+event(b, "x")+"]")
				mu.Lock()
				for _, e := range accepted.Events {
					if known, ok := sequences[e.EventID]; ok && known != e.Sequence {
						t.Errorf("event %s is number %d and %d", e.EventID, known, e.Sequence)
					}
					sequences[e.EventID] = e.Sequence
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	const want = clients / 2 * reports * 2
	if n := one[int](w, "SELECT count(*) FROM codex_task_events"); n != want || len(sequences) != want {
		t.Errorf("%d events are stored and %d answered, want %d", n, len(sequences), want)
	}
	if last := one[int](w, "SELECT max(sequence) FROM codex_task_events"); last != want {
		t.Errorf("the last number is %d, want %d", last, want)
	}
	announced := map[int64]int{}
	for _, e := range w.sink.About(k.id.String()) {
		var data struct{ FirstSequence, LastSequence int64 }
		if err := e.DataAs(&data); err != nil {
			t.Fatal(err)
		}
		for sequence := data.FirstSequence; sequence <= data.LastSequence; sequence++ {
			announced[sequence]++
		}
	}
	for sequence := int64(1); sequence <= want; sequence++ {
		if announced[sequence] != 1 {
			t.Errorf("number %d is announced %d times", sequence, announced[sequence])
		}
	}
}

// TestReportsRaceTheEnd ends a task while reports come: what was accepted is
// stored, what was refused is not.
func TestReportsRaceTheEnd(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	accepted := make([]bool, 20)
	var wg sync.WaitGroup
	for i := range accepted {
		wg.Go(func() {
			status, data := w.request(http.MethodPost, k.path(), k.token, event(fmt.Sprint(i), "x"))
			accepted[i] = status == http.StatusAccepted
			if !accepted[i] {
				wantRefusal(t, status, data)
			}
		})
	}
	wg.Go(func() { w.move(k, "finalizing", "succeeded") })
	wg.Wait()
	for i, ok := range accepted {
		if stored := one[bool](w, "SELECT EXISTS (SELECT FROM codex_task_events WHERE event_id = $1)", fmt.Sprint(i)); stored != ok {
			t.Errorf("event %d: accepted %t, stored %t", i, ok, stored)
		}
	}
}

func wantRefusal(t *testing.T, status int, data []byte) {
	t.Helper()
	if p := decode[problem.Problem](t, data); status != http.StatusConflict || !strings.Contains(p.Detail, "ended as succeeded") {
		t.Errorf("status %d: %s", status, data)
	}
}

func FuzzReport(f *testing.F) {
	for _, seed := range []string{
		wholeRun, event("a", "x"), "[]", "", "{", `[{"eventId":"a","eventType":"snapshot","snapshot":{"type":"after","manifests":[]}}]`,
		event("a", "x") + "\n" + event("b", "y"), `{"eventId":"a","eventType":"usage","content":{"n":1e308,"password":{"a":["x"]}}}`,
		`{"eventId":"a","eventType":"snapshot","snapshot":{"type":"before","manifests":[{"apiVersion":"v1","kind":"List","metadata":{"name":"x"},"items":[null]}]}}`,
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	w := setup(f, "GRAF_RATE_LIMIT_PER_SECOND", "0")
	f.Fuzz(func(t *testing.T, body string, lines bool) {
		w := *w
		w.t, w.context = t, t.Context()
		k := w.running()
		media := "application/json"
		if lines {
			media = "application/x-ndjson"
		}
		status, data := w.request(http.MethodPost, k.path(), k.token, body, "Content-Type", media)
		switch status {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		case http.StatusAccepted:
			// What was accepted can be read, and posting it again changes nothing.
			first, again := decode[api.EventsAccepted](t, data), w.postMedia(k, body, media)
			if fmt.Sprint(first.Events) != fmt.Sprint(again.Events) || len(first.Uploads) != len(again.Uploads) {
				t.Errorf("answered %+v, then %+v", first, again)
			}
			if len(w.page(k, "?limit=500").Events) == 0 {
				t.Error("nothing is stored")
			}
		default:
			t.Errorf("status %d: %s", status, data)
		}
	})
}

func (w *world) postMedia(k task, body, media string) api.EventsAccepted {
	w.t.Helper()
	status, data := w.request(http.MethodPost, k.path(), k.token, body, "Content-Type", media)
	if status != http.StatusAccepted {
		w.t.Fatalf("status %d: %s", status, data)
	}
	return decode[api.EventsAccepted](w.t, data)
}
