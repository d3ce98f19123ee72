package source_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"knative.dev/eventing/pkg/adapter/apiserver/events"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"

	"github.com/graf-run/graf/eventing"
	"github.com/graf-run/graf/local/knative"
	"github.com/graf-run/graf/local/source"
)

var quiet = slog.New(slog.DiscardHandler)

// objects are the resources of eventing/, the ones that are deployed.
func objects(t *testing.T) *knative.Objects {
	t.Helper()
	objects, err := knative.Load(eventing.Manifests)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// sink records events; it answers the first requests with statuses.
func sink(t *testing.T, statuses ...int) (string, <-chan cloudevents.Event) {
	t.Helper()
	received := make(chan cloudevents.Event, 16)
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := int(calls.Add(1)); n <= len(statuses) {
			w.WriteHeader(statuses[n-1])
			return
		}
		event, err := cehttp.NewEventFromHTTPRequest(r)
		if err != nil {
			t.Error(err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		received <- *event
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(server.Close)
	return server.URL, received
}

func next(t *testing.T, received <-chan cloudevents.Event) cloudevents.Event {
	t.Helper()
	select {
	case event := <-received:
		return event
	case <-time.After(30 * time.Second):
		t.Fatal("no event came in time")
		return cloudevents.Event{}
	}
}

func job(change func(*unstructured.Unstructured)) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "batch/v1", "kind": "Job",
		"metadata": map[string]any{
			"name": "codex-1-1", "namespace": "graf", "uid": "u1",
			"labels": map[string]any{"app.kubernetes.io/managed-by": "graf"},
		},
		"status": map[string]any{"succeeded": int64(1)},
	}}
	if change != nil {
		change(object)
	}
	return object
}

// resolver finds every Broker at a sink; the sink takes events on any path.
func resolver(sink string) knative.Resolver { return knative.Resolver{BrokerURL: sink} }

const host = "https://10.96.0.1:443"

func apiServer(t *testing.T, sink string) *source.APIServer {
	t.Helper()
	s, err := source.NewAPIServer(objects(t).APIServerSources[0], resolver(sink), host, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The events must be those of Knative's own adapter.
func TestAPIServerSendsWhatKnativeSends(t *testing.T) {
	t.Parallel()
	for verb, knativeMakes := range map[string]func(string, string, any, bool) (context.Context, cloudevents.Event, error){
		source.Add: events.MakeAddEvent, source.Update: events.MakeUpdateEvent, source.Delete: events.MakeDeleteEvent,
	} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			url, received := sink(t)
			if err := apiServer(t, url).Changed(t.Context(), verb, job(nil)); err != nil {
				t.Fatal(err)
			}
			got := next(t, received)
			_, want, err := knativeMakes(host, "graf-jobs", job(nil), false)
			if err != nil {
				t.Fatal(err)
			}
			want.SetID(got.ID())
			want.SetTime(got.Time())
			if got.ID() == "" || got.Time().IsZero() || asJSON(t, got) != asJSON(t, want) {
				t.Errorf("got  %s\nwant %s", asJSON(t, got), asJSON(t, want))
			}
		})
	}
}

func asJSON(t *testing.T, event cloudevents.Event) string {
	t.Helper()
	raw, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	var sorted any
	if err := json.Unmarshal(raw, &sorted); err != nil {
		t.Fatal(err)
	}
	if raw, err = json.Marshal(sorted); err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestAPIServerSelects(t *testing.T) {
	t.Parallel()
	url, received := sink(t)
	s := apiServer(t, url)
	for name, object := range map[string]*unstructured.Unstructured{
		"kind":      job(func(o *unstructured.Unstructured) { o.SetKind("CronJob") }),
		"version":   job(func(o *unstructured.Unstructured) { o.SetAPIVersion("batch/v2") }),
		"namespace": job(func(o *unstructured.Unstructured) { o.SetNamespace("other") }),
		"label":     job(func(o *unstructured.Unstructured) { o.SetLabels(nil) }),
	} {
		object.SetName(name)
		if err := s.Changed(t.Context(), source.Update, object); err != nil {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if err := s.Changed(t.Context(), source.Update, job(nil)); err != nil {
		t.Fatal(err)
	}
	// Changed returns after the sink has answered, so nothing is still under way.
	if got := next(t, received); got.Extensions()["name"] != "codex-1-1" || len(received) > 0 {
		t.Errorf("got %v and %d more, want the Job that is watched alone", got.Extensions(), len(received))
	}
}

func TestChangedRetriesUntilTaken(t *testing.T) {
	t.Parallel()
	url, received := sink(t, 503, 404, 429)
	if err := apiServer(t, url).Changed(t.Context(), source.Delete, job(nil)); err != nil {
		t.Fatal(err)
	}
	next(t, received)
}

func TestChangedFails(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	refusing, _ := sink(t, 400)
	for name, test := range map[string]struct {
		ctx        context.Context
		sink, verb string
		want       error
	}{
		"refused":       {t.Context(), refusing, source.Update, source.ErrRefused},
		"context ended": {ended, "http://127.0.0.1:1", source.Update, context.Canceled},
		"unknown verb":  {t.Context(), refusing, "patched", nil},
	} {
		err := apiServer(t, test.sink).Changed(test.ctx, test.verb, job(nil))
		if err == nil || (test.want != nil && !errors.Is(err, test.want)) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

func TestPingSendsOnSchedule(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		schedule string
		every    time.Duration
	}{
		"schedule with seconds": {"* * * * * *", 0},
		"interval":              {"0 0 1 1 *", 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, received := sink(t, 503)
			sources := objects(t).PingSources
			sources[0].Spec.Schedule = test.schedule
			ping, err := source.NewPing(sources, resolver(url), source.PingOptions{Every: test.every, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			ping.Start()
			one, two := next(t, received), next(t, received)
			if err := ping.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			checkTicks(t, one, two)
		})
	}
}

func checkTicks(t *testing.T, one, two cloudevents.Event) {
	t.Helper()
	if one.ID() == two.ID() {
		t.Error("two ticks with one id")
	}
	if one.Type() != "dev.knative.sources.ping" || one.Source() != "/apis/v1/namespaces/graf/pingsources/graf-tick" ||
		one.Subject() != "" || one.DataContentType() != "application/json" || string(one.Data()) != "{}" {
		t.Errorf("got %s", one)
	}
}

func TestSourcesRefuseWhatTheyCannotHonour(t *testing.T) {
	t.Parallel()
	reference := objects(t).APIServerSources[0]
	reference.Spec.EventMode = "Reference"
	if _, err := source.NewAPIServer(reference, resolver("http://127.0.0.1:1"), host, quiet); err == nil {
		t.Error("mode Reference was accepted")
	}
	for name, change := range map[string]func(*sourcesv1.PingSource){
		"@every":            func(s *sourcesv1.PingSource) { s.Spec.Schedule = "@every 1s" },
		"30 February":       func(s *sourcesv1.PingSource) { s.Spec.Schedule = "0 0 30 2 *" },
		"an unknown sink":   func(s *sourcesv1.PingSource) { s.Spec.Sink.Ref.Kind = "Channel" },
		"data of two kinds": func(s *sourcesv1.PingSource) { s.Spec.DataBase64 = "e30=" },
	} {
		sources := objects(t).PingSources
		change(sources[0])
		if _, err := source.NewPing(sources, resolver("http://127.0.0.1:1"), source.PingOptions{Logger: quiet}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
