//go:build e2e

package e2e

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
)

// probeType begins the types of events that tell whether a Trigger works.
const probeType = "dev.graf.e2e.probe."

// probe returns when the Triggers that the Broker has had until now receive
// events. That they are ready does not tell: the dispatcher of in-memory channels
// says so of a subscriber, too, that it has not taken up yet. But it takes them up
// in their order, so that one more Trigger that receives events tells of the others.
func (s *system) probe(t testing.TB, namespace, broker, url string) {
	t.Helper()
	var came atomic.Bool
	id := uuid.NewString()[:8]
	name := "probe-" + id
	s.create(t, triggers, object{
		"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": object{"name": name, "namespace": namespace},
		"spec": object{
			"broker": broker, "filters": []any{object{"exact": object{"type": probeType + id}}},
			"subscriber": object{"uri": serve(t, s.address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				came.Store(true)
				w.WriteHeader(http.StatusAccepted)
			}))},
		},
	})
	s.awaitReady(t, triggers, namespace, name)
	eventually(t, "the Triggers of Broker "+broker+" receive events", func() bool {
		request, err := http.NewRequestWithContext(within(t), http.MethodPost, url, http.NoBody)
		must(t, err)
		request.Header = http.Header{
			"Ce-Specversion": {"1.0"}, "Ce-Id": {uuid.NewString()}, "Ce-Source": {"/e2e"}, "Ce-Type": {probeType + id},
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		return came.Load()
	})
}
