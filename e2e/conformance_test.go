//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/eventing/conformance"
)

// TestConformance runs the suite that the local broker passes against Brokers of
// the cluster.
func TestConformance(t *testing.T) {
	s := newSystem(t)
	conformance.Run(t, func(t testing.TB) conformance.Harness { return s.newHarness(t) })
}

// harness is a Broker of its own, with the annotations of Graf's: its class, and
// what its channel is told.
type harness struct {
	*system
	name, ingress string
}

func (s *system) newHarness(t testing.TB) *harness {
	t.Helper()
	name := "conformance-" + strings.ToLower(uuid.NewString()[:8])
	like := s.awaitReady(t, brokers, graf, "default")
	annotations := object{}
	for _, key := range []string{"eventing.knative.dev/broker.class", "messaging.knative.dev/async-handler"} {
		annotations[key] = like.GetAnnotations()[key]
	}
	s.create(t, brokers, object{
		"apiVersion": "eventing.knative.dev/v1", "kind": "Broker",
		"metadata": object{"name": name, "namespace": tests, "annotations": annotations},
	})
	o := s.awaitReady(t, brokers, tests, name)
	address, _, _ := nested(o.Object, "status", "address", "url")
	return &harness{system: s, name: name, ingress: strings.TrimSuffix(address, "/"+tests+"/"+name)}
}

// Broker implements conformance.Harness.
func (h *harness) Broker() (namespace, name string) { return tests, h.name }

// Ingress implements conformance.Harness.
func (h *harness) Ingress() string { return h.ingress }

// Apply implements conformance.Harness. Trigger names are made unique: the tests
// share a namespace.
func (h *harness) Apply(t testing.TB, manifest []byte) {
	t.Helper()
	trigger := &unstructured.Unstructured{}
	must(t, json.Unmarshal(manifest, &trigger.Object))
	trigger.SetName(trigger.GetName() + "-" + strings.TrimPrefix(h.name, "conformance-"))
	h.create(t, triggers, trigger.Object)
	h.awaitReady(t, triggers, tests, trigger.GetName())
	h.probe(t, tests, h.name, h.ingress+"/"+tests+"/"+h.name)
}

// Serve implements conformance.Harness.
func (h *harness) Serve(t testing.TB, handler http.Handler) string {
	t.Helper()
	return serve(t, h.address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Ce-Type"), probeType) {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		handler.ServeHTTP(w, r)
	}))
}
