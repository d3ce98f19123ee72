//go:build e2e

package e2e

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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

// awaitUnsubscribed waits until a Trigger of Graf's Broker that was removed is out
// of the Broker's channel. When two are removed at once, Knative may leave one of
// them there for good, and each event becomes a dead letter of it.
func (s *system) awaitUnsubscribed(t testing.TB, name string) {
	t.Helper()
	eventually(t, "Trigger "+name+" is out of the channel", func() bool {
		found, err := s.cluster.Resource(channels).Namespace(graf).List(within(t), metav1.ListOptions{})
		return err == nil && !slices.ContainsFunc(found.Items, func(channel unstructured.Unstructured) bool {
			subscribers, _, _ := unstructured.NestedSlice(channel.Object, "spec", "subscribers")
			return slices.ContainsFunc(subscribers, func(one any) bool {
				fields, ok := one.(object)
				address, _, _ := nested(fields, "subscriberUri")
				return ok && strings.Contains(address, "/triggers/"+graf+"/"+name+"/")
			})
		})
	})
}
