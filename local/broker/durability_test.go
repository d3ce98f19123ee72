package broker_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/graf-run/graf/eventing"
	"github.com/graf-run/graf/local/broker"
	"github.com/graf-run/graf/local/knative"
)

// deadline bounds what must happen; a passing test never waits for it.
const deadline = 30 * time.Second

func uri(t testing.TB, raw string) duckv1.Destination {
	t.Helper()
	u, err := apis.ParseURL(raw)
	if err != nil {
		t.Fatal(err)
	}
	return duckv1.Destination{URI: u}
}

// trigger subscribes a URL to every event, with no retries, and a dead-letter
// sink if that is not empty.
func trigger(t testing.TB, subscriber, deadLetterSink string) *eventingv1.Trigger {
	t.Helper()
	tr := &eventingv1.Trigger{
		ObjectMeta: metav1.ObjectMeta{Namespace: "graf", Name: "all"},
		Spec:       eventingv1.TriggerSpec{Broker: "default", Subscriber: uri(t, subscriber)},
	}
	if deadLetterSink != "" {
		sink := uri(t, deadLetterSink)
		tr.Spec.Delivery = &eventingduckv1.DeliverySpec{DeadLetterSink: &sink}
	}
	return tr
}

// post sends an event and returns the status, and what the Broker said.
func post(t testing.TB, url, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/graf/default", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/test", "Ce-Type": "x", "Content-Type": "application/json"} {
		r.Header.Set(name, value)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	said, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(said)
}

// got is a request to a subscriber.
type got struct {
	header http.Header
	body   string
}

// serve starts a subscriber that answers with the status that answer returns.
func serve(t testing.TB, answer func(r *http.Request) int) (string, <-chan got) {
	t.Helper()
	requests := make(chan got, 64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- got{r.Header, string(body)}
		w.WriteHeader(answer(r))
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(deadline):
		t.Fatal("nothing came in time")
		panic("unreachable")
	}
}

// add gives the harness a Trigger, also after restarts.
func (h *harness) add(t testing.TB, tr *eventingv1.Trigger) {
	t.Helper()
	if err := h.broker.AddTrigger(tr); err != nil {
		t.Fatal(err)
	}
	h.config.Triggers = append(h.config.Triggers, tr)
}

func TestBounds(t *testing.T) {
	t.Parallel()
	h := setup(t, func(c *broker.Config) { c.MaxEventBytes, c.MaxPendingBytes, c.MaxRequests = 1000, 1700, 1 })
	hold := make(chan struct{})
	url, requests := serve(t, func(r *http.Request) int {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
		return http.StatusOK
	})
	h.add(t, trigger(t, url, ""))
	big := `"` + strings.Repeat("x", 1000) + `"`
	if status, said := post(t, h.server.URL, big); status != http.StatusRequestEntityTooLarge {
		t.Errorf("too large an event: %d %s, want 413", status, said)
	}
	half := big[:len(big)/2]
	for i, want := range []int{202, 202, 503} {
		if status, said := post(t, h.server.URL, half); status != want {
			t.Errorf("event %d: %d %s, want %d", i, status, said, want)
		}
	}
	receive(t, requests)
	close(hold)
	receive(t, requests)
}

// A request that is under way when the Broker stops is finished; one that lasts
// too long is cut off, and its event delivered after the restart.
func TestStopWithRequestsUnderWay(t *testing.T) {
	t.Parallel()
	for name, patient := range map[string]bool{"finishes": true, "is cut off": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := setup(t, nil)
			hold := make(chan struct{})
			url, requests := serve(t, func(r *http.Request) int {
				select {
				case <-hold:
				case <-r.Context().Done():
				}
				return http.StatusOK
			})
			h.add(t, trigger(t, url, ""))
			if status, said := post(t, h.server.URL, `{}`); status != http.StatusAccepted {
				t.Fatal(status, said)
			}
			receive(t, requests)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if patient {
				close(hold)
			} else {
				cancel()
			}
			if err := h.broker.Stop(ctx); err != nil {
				t.Fatal(err)
			}
			h.reopen(t)
			if !patient {
				close(hold)
				receive(t, requests)
			} else if n := h.broker.Undelivered(); n != 0 {
				t.Errorf("%d events are left, though the subscriber took the only one", n)
			}
		})
	}
}

// reopen starts a Broker that was stopped.
func (h *harness) reopen(t testing.TB) {
	t.Helper()
	<-h.handler.current
	h.open(t)
}

func TestStoppedBrokerTakesNothing(t *testing.T) {
	t.Parallel()
	h := setup(t, nil)
	h.stop(t)
	if status, said := post(t, h.server.URL, `{}`); status != http.StatusServiceUnavailable {
		t.Errorf("%d %s, want 503", status, said)
	}
}

func TestRestartKeepsWhatWasSent(t *testing.T) {
	t.Parallel()
	h := setup(t, func(c *broker.Config) { c.RedeliverAfter = time.Hour })
	up := make(chan struct{})
	url, requests := serve(t, func(*http.Request) int {
		select {
		case <-up:
			return http.StatusOK
		default:
			return http.StatusServiceUnavailable
		}
	})
	h.add(t, trigger(t, url, url))
	const truncated, parent = `{"truncated": `, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	status, said := post(t, h.server.URL, truncated, "Traceparent", parent, "X-Request-Id", "r1", "Authorization", "Bearer secret", "Ce-Terminal", "true")
	if status != http.StatusAccepted {
		t.Fatal(status, said)
	}
	receive(t, requests) // the subscriber
	receive(t, requests) // the dead-letter sink, which does not take it either
	close(up)
	h.Restart(t)
	after := receive(t, requests)
	if after.body != truncated {
		t.Errorf("data %q, want %q", after.body, truncated)
	}
	for name, want := range map[string]string{
		"Ce-Id": "1", "Ce-Terminal": "true", "Content-Type": "application/json",
		"Traceparent": parent, "X-Request-Id": "r1", "Authorization": "", "Ce-Knativebrokerttl": "",
	} {
		if value := after.header.Get(name); value != want {
			t.Errorf("header %s is %q, want %q", name, value, want)
		}
	}
}

// Knative drops an event that neither subscriber nor dead-letter sink takes;
// here it is tried again.
func TestUnreachableIsTriedAgain(t *testing.T) {
	t.Parallel()
	h := setup(t, func(c *broker.Config) { c.RedeliverAfter = time.Millisecond })
	calls := make(chan struct{}, 4)
	url, requests := serve(t, func(*http.Request) int {
		select {
		case calls <- struct{}{}:
			return http.StatusServiceUnavailable
		default:
			return http.StatusOK
		}
	})
	h.add(t, trigger(t, url, url))
	if status, said := post(t, h.server.URL, `{}`); status != http.StatusAccepted {
		t.Fatal(status, said)
	}
	for range cap(calls) + 1 {
		receive(t, requests)
	}
}

// More events than are held in memory or begun at a time arrive all the same.
func TestBacklogIsReadFromDisk(t *testing.T) {
	t.Parallel()
	h := setup(t, func(c *broker.Config) { c.MaxDeliveries = 2 })
	hold := make(chan struct{})
	ids := make(chan string, 1024)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-hold
		ids <- r.Header.Get("Ce-Id")
	}))
	t.Cleanup(server.Close)
	h.add(t, trigger(t, server.URL, ""))
	const events = 400 // the queue keeps 256 in memory
	for range events {
		if status, said := post(t, h.server.URL, `{}`, "Ce-Id", rand.Text()); status != http.StatusAccepted {
			t.Fatal(status, said)
		}
	}
	close(hold)
	seen := map[string]bool{}
	for len(seen) < events {
		seen[receive(t, ids)] = true
	}
}

func TestWrongConfiguration(t *testing.T) {
	t.Parallel()
	objects, err := knative.Load(eventing.Manifests)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "db")
	services := map[string]string{}
	for _, tr := range objects.Triggers {
		services[tr.Spec.Subscriber.Ref.Name] = "http://127.0.0.1:1"
	}
	right := broker.Config{Brokers: objects.Brokers, Triggers: objects.Triggers, Path: path,
		Resolver: knative.Resolver{Services: services}, Logger: slog.New(slog.DiscardHandler)}
	for name, test := range map[string]struct {
		change func(*broker.Config)
		want   error
	}{
		"no path":            {func(c *broker.Config) { c.Path = "" }, broker.ErrConfig},
		"no Brokers":         {func(c *broker.Config) { c.Brokers = nil }, broker.ErrConfig},
		"negative bound":     {func(c *broker.Config) { c.MaxRequests = -1 }, broker.ErrConfig},
		"unknown Service":    {func(c *broker.Config) { c.Resolver = knative.Resolver{} }, knative.ErrUnresolved},
		"another's Triggers": {func(c *broker.Config) { c.Brokers = otherBroker(c.Brokers[0]) }, broker.ErrUnknownBroker},
	} {
		config := right
		test.change(&config)
		if _, err := broker.New(config); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	b, err := broker.New(right)
	if err != nil {
		t.Fatalf("the manifests of eventing/: %v", err)
	}
	if err := b.AddTrigger(objects.Triggers[0]); err == nil {
		t.Error("a Trigger was added twice")
	}
	if err := b.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func otherBroker(b *eventingv1.Broker) []*eventingv1.Broker {
	other := b.DeepCopy()
	other.Name = "other"
	return []*eventingv1.Broker{other}
}
