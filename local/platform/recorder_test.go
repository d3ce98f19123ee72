package platform

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/eventtest"
)

// recorder is the subscriber of a Trigger without a filter. What does not match
// its type's schema fails the test.
type recorder struct {
	server *httptest.Server
	mu     sync.Mutex
	events []event.Event
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		e, err := delivery.Read(w, request)
		if err != nil {
			t.Errorf("the Broker delivered what is no event: %v", err)
			return
		}
		// Graf has no use, and so no schema, for Jobs that were added.
		if e.Type() != event.TypeResourceAdd {
			if err := eventtest.Check(e); err != nil {
				t.Error(err)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(r.server.Close)
	return r
}

func (r *recorder) trigger() *eventingv1.Trigger {
	address, err := apis.ParseURL(r.server.URL)
	if err != nil {
		panic(err) // httptest's own
	}
	return &eventingv1.Trigger{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "recorder"},
		Spec:       eventingv1.TriggerSpec{Broker: "default", Subscriber: duckv1.Destination{URI: address}},
	}
}

// about are the events about the tasks with these ids, those of their Jobs
// included, and the events about none.
func (r *recorder) about(ids ...string) []event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.events), func(e event.Event) bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(e.Subject(), id) })
	})
}

// send sends an event to the Broker by plain HTTP, as any program in a cluster can.
func (s *system) send(t *testing.T, e event.Event) {
	t.Helper()
	body, err := json.Marshal(e)
	must(t, err)
	request, err := http.NewRequestWithContext(within(t), http.MethodPost, s.BrokerURL(), bytes.NewReader(body))
	must(t, err)
	request.Header.Set("Content-Type", "application/cloudevents+json")
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		t.Fatalf("the Broker answered %s", response.Status)
	}
}
