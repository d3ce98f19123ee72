package broker_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"

	"github.com/graf-run/graf/eventing/conformance"
	"github.com/graf-run/graf/local/broker"
	"github.com/graf-run/graf/local/knative"
)

// harness is a local Broker behind a server whose address outlives restarts.
type harness struct {
	config  broker.Config
	broker  *broker.Broker
	server  *httptest.Server
	handler swap
}

// swap is a handler that can be exchanged.
type swap struct{ current chan http.Handler }

func (s swap) set(h http.Handler) { s.current <- h }

func (s swap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := <-s.current
	s.current <- h
	h.ServeHTTP(w, r)
}

// setup starts a Broker named graf/default with no Triggers. change, if not nil,
// may set what the test is about.
func setup(t testing.TB, change func(*broker.Config)) *harness {
	t.Helper()
	h := &harness{handler: swap{make(chan http.Handler, 1)}}
	h.server = httptest.NewServer(h.handler)
	h.config = broker.Config{
		Brokers: []*eventingv1.Broker{{ObjectMeta: metav1.ObjectMeta{
			Namespace: "graf", Name: "default",
			Annotations: map[string]string{eventingv1.BrokerClassAnnotationKey: "MTChannelBasedBroker"},
		}}},
		Resolver: knative.Resolver{BrokerURL: h.server.URL},
		Path:     filepath.Join(t.TempDir(), "undelivered.db"),
		Logger:   slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&h.config)
	}
	h.open(t)
	t.Cleanup(func() {
		h.stop(t)
		h.server.Close()
	})
	return h
}

func (h *harness) open(t testing.TB) {
	t.Helper()
	b, err := broker.New(h.config)
	if err != nil {
		t.Fatal(err)
	}
	b.Start()
	h.broker = b
	h.handler.set(b)
}

func (h *harness) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := h.broker.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func (h *harness) Broker() (namespace, name string) { return "graf", "default" }

func (h *harness) Ingress() string { return h.server.URL }

func (h *harness) Apply(t testing.TB, manifest []byte) {
	t.Helper()
	trigger := &eventingv1.Trigger{}
	if err := json.Unmarshal(manifest, trigger); err != nil {
		t.Fatal(err)
	}
	if err := h.broker.AddTrigger(trigger); err != nil {
		t.Fatal(err)
	}
	h.config.Triggers = append(h.config.Triggers, trigger)
}

func (h *harness) Serve(t testing.TB, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func (h *harness) Restart(t testing.TB) {
	t.Helper()
	<-h.handler.current
	h.stop(t)
	h.open(t)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, func(t testing.TB) conformance.Harness { return setup(t, nil) })
}
