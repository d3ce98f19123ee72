package callback_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/apitest"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/tasktest"
)

// follower reads an event stream as a client does.
type follower struct {
	w    *world
	body io.ReadCloser
	scan *bufio.Scanner
}

// message is one block of a stream.
type message struct{ id, event, data, comment string }

func (w *world) follow(k task, headers ...string) *follower {
	w.t.Helper()
	res := w.do(http.MethodGet, k.path(), apiToken, "", append(headers, "Accept", "text/event-stream")...)
	w.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(res.Body)
		w.t.Fatalf("status %d: %s", res.StatusCode, data)
	}
	apitest.CheckResponse(w.t, res)
	scan := bufio.NewScanner(res.Body)
	scan.Buffer(nil, 2<<20)
	return &follower{w: w, body: res.Body, scan: scan}
}

// next is the next block; ok is false at the stream's end.
func (f *follower) next() (m message, ok bool) {
	f.w.t.Helper()
	for f.scan.Scan() {
		field, value, _ := strings.Cut(f.scan.Text(), ": ")
		switch field {
		case "":
			if value == "" {
				return m, true
			}
			m.comment = value
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			m.data = value
		}
	}
	return m, false
}

// events reads n events, whose data must be as the OpenAPI document says.
func (f *follower) events(n int) []api.TaskEvent {
	f.w.t.Helper()
	var events []api.TaskEvent
	for len(events) < n {
		m, ok := f.next()
		if !ok {
			f.w.t.Fatalf("the stream ended after %d of %d events: %v", len(events), n, f.scan.Err())
		}
		if m.event == "" {
			continue
		}
		apitest.CheckSchema(f.w.t, "TaskEvent", []byte(m.data))
		e := decode[api.TaskEvent](f.w.t, []byte(m.data))
		if m.id != strconv.FormatInt(e.Sequence, 10) || m.event != string(e.EventType) {
			f.w.t.Errorf("id %s, event %s of %+v", m.id, m.event, e)
		}
		events = append(events, e)
	}
	return events
}

// end reads to the end, which must be told with the status.
func (f *follower) end(status string) {
	f.w.t.Helper()
	var last message
	for {
		m, ok := f.next()
		if !ok {
			break
		}
		if m.event != "" {
			last = m
		}
	}
	if last.event != "end" || last.id != "" || !strings.Contains(last.data, `"status":"`+status+`"`) {
		f.w.t.Errorf("the stream ended with %+v, %v", last, f.scan.Err())
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	// A minute: what arrives was notified. The end is not, but told on the way.
	w := setup(t, "GRAF_STREAM_POLL", "1m")
	k := w.running()
	w.post(k, "["+event("a", "one\ntwo")+","+event("b", "x")+"]")
	f := w.follow(k)
	if got := f.events(2); string(got[0].Content) != `"one\ntwo"` {
		t.Errorf("events %+v", got)
	}
	for sequence := int64(3); sequence < 6; sequence++ {
		w.post(k, event(strconv.FormatInt(sequence, 10), "live"))
		if got := f.events(1)[0]; got.Sequence != sequence {
			t.Errorf("event %+v, want number %d", got, sequence)
		}
	}
	// As finalize tells of the task's resources.
	tasktest.Report(t, w.pool, k.id, "resource", "2 of 3 replicas are available")
	w.exec("SELECT pg_notify('codex_task_events', $1)", k.id.String())
	if got := f.events(1)[0]; got.EventType != api.EventTypeResource || got.Sequence != 6 {
		t.Errorf("event %+v, want one of a resource", got)
	}
	w.move(k, "finalizing", "succeeded")
	w.exec("SELECT pg_notify('codex_task_events', $1)", k.id.String())
	f.end("succeeded")
}

func TestStreamResumes(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_STREAM_POLL", "20ms")
	k := w.running()
	w.post(k, wholeRun)
	first := w.follow(k)
	last := first.events(4)[3].Sequence
	_ = first.body.Close()
	second := w.follow(k, "Last-Event-ID", strconv.FormatInt(last, 10))
	for i, e := range second.events(5) {
		if e.Sequence != last+int64(i)+1 {
			t.Errorf("event %d is number %d", i, e.Sequence)
		}
	}
	w.move(k, "finalizing", "failed")
	second.end("failed")
	// Whoever has seen all is told of the end.
	w.follow(k, "Last-Event-ID", "9").end("failed")
}

// TestStreamOutlivesServerTimeouts holds a stream open for longer than the
// server lets ordinary requests be read and answered.
func TestStreamOutlivesServerTimeouts(t *testing.T) {
	t.Parallel()
	const timeout = 500 * time.Millisecond
	w := setupServer(t, timeout, "GRAF_STREAM_HEARTBEAT", "50ms", "GRAF_STREAM_POLL", "50ms")
	k := w.running()
	f := w.follow(k)
	for begun := time.Now(); time.Since(begun) < 3*timeout; {
		if _, ok := f.next(); !ok {
			t.Fatalf("the stream was cut off after %v: %v", time.Since(begun), f.scan.Err())
		}
	}
	w.move(k, "finalizing", "succeeded")
	f.end("succeeded")
}

func TestStreamSurvivesLostNotifications(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_STREAM_POLL", "20ms")
	k := w.running()
	f := w.follow(k)
	w.wait("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")
	w.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")
	w.post(k, event("a", "x"))
	f.events(1)
	w.wait("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")
}

// wait asks until the answer is true, or the test's time is over.
func (w *world) wait(question string) {
	w.t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !one[bool](w, question) {
		select {
		case <-ticker.C:
		case <-w.context.Done():
			w.t.Fatalf("never true: %s", question)
		}
	}
}

func TestNothingListensForNobody(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_STREAM_POLL", "20ms")
	k := w.running()
	first, second := w.follow(k), w.follow(w.running())
	w.wait("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")
	_ = first.body.Close()
	_ = second.body.Close()
	w.wait("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")
	third := w.follow(k)
	w.post(k, event("a", "x"))
	third.events(1)
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_STREAMS_MAX", "1")
	k := w.running()
	w.follow(k)
	status, data := w.request(http.MethodGet, k.path(), apiToken, "", "Accept", "text/event-stream")
	if p := wantProblem(t, status, data, problem.ErrUnavailable); !strings.Contains(p.Detail, "1 event streams are open") {
		t.Errorf("detail %q", p.Detail)
	}
	w.page(k, "")
}

func TestStreamOfAnUnknownTask(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.task()
	k.id[15] ^= 1
	status, data := w.request(http.MethodGet, k.path(), apiToken, "", "Accept", "text/html, text/event-stream;q=0.5")
	wantProblem(t, status, data, problem.ErrNotFound)
}

// TestStreamsEndWithTheServer checks that an open stream does not hold up the
// server's graceful stop, as func-go does it.
func TestStreamsEndWithTheServer(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_STREAM_POLL", "1m", "GRAF_STREAM_HEARTBEAT", "1m")
	f := w.follow(w.running())
	ctx, cancel := context.WithTimeout(w.context, 20*time.Second)
	defer cancel()
	if err := w.server.Config.Shutdown(ctx); err != nil {
		t.Errorf("the server does not stop: %v", err)
	}
	last := message{}
	for m, ok := f.next(); ok; m, ok = f.next() {
		last = m
	}
	if !strings.Contains(last.comment, "stopping") || f.scan.Err() != nil {
		t.Errorf("the stream ended with %+v, %v", last, f.scan.Err())
	}
}
