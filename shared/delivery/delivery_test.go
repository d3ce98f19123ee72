package delivery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/problem"
)

// serve gives the URL of a receiver with one handler for queue.due events.
func serve(t *testing.T, handle delivery.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(delivery.NewReceiver(map[string]delivery.HandlerFunc{event.TypeQueueDue: handle}))
	t.Cleanup(server.Close)
	return server.URL
}

// binary has the attributes of an event in headers.
func binary(more map[string]string) map[string]string {
	headers := map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "7", "Ce-Source": "/graf/finalize", "Ce-Type": event.TypeQueueDue,
		"Content-Type": "application/json",
	}
	maps.Copy(headers, more)
	return headers
}

var structured = map[string]string{"Content-Type": "application/cloudevents+json"}

// post sends a request and gives the answer with its body as a problem document.
func post(t *testing.T, url string, headers map[string]string, body string) (int, problem.Problem) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var doc problem.Problem
	if len(text) > 0 {
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	return res.StatusCode, doc
}

func TestEventsAreReceivedInBothModes(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]struct {
		headers map[string]string
		body    string
	}{
		"binary": {binary(map[string]string{"Ce-Subject": "s", "Ce-Terminal": "true"}), `{"waiting": 3}`},
		"structured": {structured, `{"specversion": "1.0", "id": "7", "source": "/graf/finalize", "type": "` + event.TypeQueueDue +
			`", "subject": "s", "terminal": "true", "datacontenttype": "application/json", "data": {"waiting": 3}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got event.Event
			var left time.Duration
			url := serve(t, func(ctx context.Context, e event.Event) error {
				got = e
				deadline, _ := ctx.Deadline()
				left = time.Until(deadline)
				return nil
			})
			if status, doc := post(t, url, request.headers, request.body); status != http.StatusNoContent {
				t.Fatalf("%d: %+v", status, doc)
			}
			if got.ID() != "7" || got.Source() != "/graf/finalize" || got.Type() != event.TypeQueueDue ||
				got.Subject() != "s" || got.Extensions()["terminal"] != "true" {
				t.Errorf("received %v", got)
			}
			if data, err := delivery.Data[event.QueueDue](got); err != nil || data.Waiting != 3 {
				t.Errorf("data %+v, %v", data, err)
			}
			if left <= 0 || left > delivery.DefaultTimeout {
				t.Errorf("the handler has %v, want up to %v", left, delivery.DefaultTimeout)
			}
		})
	}
}

// The Broker tries 5xx and 429 again and dead-letters other 4xx.
func TestAnswerTellsTheBrokerWhatToDo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err    error
		status int
	}{
		"a fault":       {errors.New("password=hunter2"), http.StatusInternalServerError},
		"away":          {problem.ErrUnavailable.With("no database"), http.StatusServiceUnavailable},
		"rate":          {problem.ErrRateLimited.With("slow down"), http.StatusTooManyRequests},
		"not found":     {problem.ErrNotFound.With("no task"), http.StatusUnprocessableEntity},
		"conflict":      {problem.ErrConflict.With("it ended"), http.StatusUnprocessableEntity},
		"not allowed":   {problem.ErrForbidden.With("not from there"), http.StatusForbidden},
		"out of time":   {context.DeadlineExceeded, http.StatusServiceUnavailable},
		"what is amiss": {problem.ErrInvalid.Fields(problem.FieldError{Pointer: "/data"}), http.StatusUnprocessableEntity},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(context.Context, event.Event) error { return test.err })
			status, doc := post(t, url, binary(nil), `{"waiting": 1}`)
			if status != test.status || doc.Status != status {
				t.Errorf("status %d, document %+v; want %d", status, doc, test.status)
			}
			if strings.Contains(doc.Detail, "hunter2") {
				t.Errorf("the answer tells the cause: %s", doc.Detail)
			}
		})
	}
}

func TestWhatIsNoEventIsRefusedForGood(t *testing.T) {
	t.Parallel()
	large := `"` + strings.Repeat("x", delivery.MaxEventBytes) + `"`
	without := func(header string) map[string]string {
		headers := binary(nil)
		delete(headers, header)
		return headers
	}
	for name, test := range map[string]struct {
		headers map[string]string
		body    string
		status  int
		detail  string
	}{
		"no event":         {map[string]string{"Content-Type": "application/json"}, `{}`, http.StatusBadRequest, "not a CloudEvent"},
		"no id":            {without("Ce-Id"), `{}`, http.StatusBadRequest, "id:"},
		"no source":        {without("Ce-Source"), `{}`, http.StatusBadRequest, "source:"},
		"no JSON":          {structured, `{"specversion":`, http.StatusBadRequest, "not a CloudEvent"},
		"no body":          {structured, ``, http.StatusBadRequest, "not a CloudEvent"},
		"a batch":          {map[string]string{"Content-Type": "application/cloudevents-batch+json"}, `[]`, http.StatusBadRequest, "not a CloudEvent"},
		"another version":  {binary(map[string]string{"Ce-Specversion": "2.0"}), `{}`, http.StatusBadRequest, "not a CloudEvent"},
		"another type":     {binary(map[string]string{"Ce-Type": "other"}), `{}`, http.StatusUnprocessableEntity, ""},
		"large":            {binary(nil), large, http.StatusRequestEntityTooLarge, "4194304"},
		"large structured": {structured, `{"data": ` + large + `}`, http.StatusRequestEntityTooLarge, "4194304"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(context.Context, event.Event) error {
				t.Error("it was handled")
				return nil
			})
			status, doc := post(t, url, test.headers, test.body)
			if status != test.status || !strings.Contains(doc.Detail, test.detail) {
				t.Errorf("%d %+v, want %d and %q", status, doc, test.status, test.detail)
			}
		})
	}
}

// Each handler has its own request's context, which sdk-go's receiver does not hold to.
func TestHandlersHaveTheirOwnTrace(t *testing.T) {
	t.Parallel()
	const n = 50
	var all sync.WaitGroup // all are handled at once
	all.Add(n)
	url := serve(t, func(ctx context.Context, e event.Event) error {
		all.Done()
		all.Wait()
		if got := trace.SpanContextFromContext(ctx).TraceID().String(); got != e.ID() {
			return problem.ErrConflict.With("event %s is handled in trace %s", e.ID(), got)
		}
		return nil
	})
	var sent sync.WaitGroup
	for range n {
		sent.Go(func() {
			id := strings.ReplaceAll(uuid.NewString(), "-", "")
			headers := binary(map[string]string{"Ce-Id": id, "Ce-Traceparent": "00-" + id + "-00f067aa0ba902b7-01"})
			if status, doc := post(t, url, headers, `{"waiting": 1}`); status != http.StatusNoContent {
				t.Errorf("%d: %s", status, doc.Detail)
			}
		})
	}
	sent.Wait()
}

func TestDataThatDoesNotFitIsRefusedForGood(t *testing.T) {
	t.Parallel()
	url := serve(t, func(_ context.Context, e event.Event) error {
		_, err := delivery.Data[event.QueueDue](e)
		return err
	})
	for _, data := range []string{`{"waiting": "three"}`, `[]`, `{`, ``} {
		status, doc := post(t, url, binary(nil), data)
		if status != http.StatusUnprocessableEntity || len(doc.Errors) != 1 || doc.Errors[0].Pointer != "/data" {
			t.Errorf("%q: %d %+v, want 422 at /data", data, status, doc)
		}
	}
}

// An event of exactly the bound is taken.
func TestLargestEvent(t *testing.T) {
	t.Parallel()
	var got int
	url := serve(t, func(_ context.Context, e event.Event) error {
		got = len(e.Data())
		return nil
	})
	body := `"` + string(bytes.Repeat([]byte("x"), delivery.MaxEventBytes-2)) + `"`
	if status, doc := post(t, url, binary(nil), body); status != http.StatusNoContent || got != delivery.MaxEventBytes {
		t.Errorf("%d %+v with %d bytes", status, doc, got)
	}
}
