package sink_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/sink"
)

func client(t *testing.T, url string, timeout time.Duration) *sink.Client {
	t.Helper()
	c, err := sink.New(sink.Config{URL: url, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// traced is an event with all that Graf's have: subject, time, extensions and a trace.
func traced(t *testing.T) event.Event {
	t.Helper()
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	}))
	e := event.New(ctx, event.TypeQueueDue, event.SourceFinalize, "Straße 1", event.QueueDue{Waiting: 3})
	e.SetExtension(event.ExtensionTaskStatus, "failed")
	return e
}

func TestWhatIsSentIsReceived(t *testing.T) {
	t.Parallel()
	received := make(chan event.Event, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, err := delivery.Read(w, r)
		if err != nil {
			t.Error(err)
		}
		if r.Header.Get("Ce-Id") == "" {
			t.Error("the event is not in binary mode")
		}
		received <- e
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	want := traced(t)
	if err := client(t, server.URL, time.Minute).Send(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	got := <-received
	if !reflect.DeepEqual(got.Context, want.Context) || string(got.Data()) != string(want.Data()) {
		t.Errorf("received\n%v\nwant\n%v", got, want)
	}
}

func TestSendFails(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	answering := func(status int) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte("because " + strings.Repeat("x", 10_000)))
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // until then the server does not see that the client left
		<-r.Context().Done()
	}))
	t.Cleanup(hanging.Close)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx     context.Context
		url     string
		timeout time.Duration
		want    error
		says    string
		refused bool
	}{
		"refused":       {t.Context(), answering(http.StatusBadRequest), time.Minute, nil, "400 Bad Request: because xxx", true},
		"too large":     {t.Context(), answering(http.StatusRequestEntityTooLarge), time.Minute, nil, "413 Request Entity Too Large: because", true},
		"not allowed":   {t.Context(), answering(http.StatusForbidden), time.Minute, nil, "403 Forbidden: because", false},
		"no Broker yet": {t.Context(), answering(http.StatusNotFound), time.Minute, nil, "404 Not Found: because", false},
		"overloaded":    {t.Context(), answering(http.StatusServiceUnavailable), time.Minute, nil, "503 Service Unavailable: because", false},
		"moved":         {t.Context(), answering(http.StatusNotModified), time.Minute, nil, "304", false},
		"away":          {t.Context(), closed.URL, time.Minute, nil, "connection refused", false},
		"hangs":         {t.Context(), hanging.URL, 50 * time.Millisecond, context.DeadlineExceeded, "", false},
		"context ended": {ended, hanging.URL, time.Minute, context.Canceled, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			e := traced(t)
			err := client(t, test.url, test.timeout).Send(test.ctx, e)
			if err == nil || (test.want != nil && !errors.Is(err, test.want)) ||
				!strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), e.ID()) {
				t.Fatalf("got %v, want %v with %q and the event's id", err, test.want, test.says)
			}
			if _, refused := errors.AsType[*sink.RefusedError](err); refused != test.refused {
				t.Errorf("%v: the event is to blame: %t, want %t", err, refused, test.refused)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes: the sink's answer is not bounded", len(err.Error()))
			}
		})
	}
}

// A connection for each event would use up the machine's ports under load.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte("taken")) // which must be read for it
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c := client(t, server.URL, time.Minute)
	for range 20 {
		if err := c.Send(t.Context(), traced(t)); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("20 events took %d connections, want one", n)
	}
}

func TestNewRefusesWhatIsNoSink(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "broker", "broker:80", "ftp://broker/", "http://", "http://bro ker/", "/graf/default"} {
		if _, err := sink.New(sink.Config{URL: url}); err == nil || !strings.Contains(err.Error(), "K_SINK") {
			t.Errorf("%q: %v, want an error that names K_SINK", url, err)
		}
	}
}
