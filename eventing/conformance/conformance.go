// Package conformance states what Graf expects of a Knative Broker, as tests
// that run against any: the local one, or a cluster's. A Broker delivers at least
// once and in no order, so tests accept duplicates and never a loss.
package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// patience bounds every wait for something that must happen. It is long, for
// slow machines and clusters: a test that passes never waits for its end.
const patience = time.Minute

// Harness is a Broker under test.
type Harness interface {
	// Broker returns the namespace and the name of a Broker without Triggers.
	Broker() (namespace, name string)
	// Ingress returns the base URL of the Broker ingress; events go to
	// /<namespace>/<name> below it.
	Ingress() string
	// Apply creates a Trigger from its manifest (JSON, which is also YAML) and
	// returns when it receives events.
	Apply(t testing.TB, manifest []byte)
	// Serve makes a handler reachable for the Broker until the test ends, and
	// returns its URL, without a path.
	Serve(t testing.TB, handler http.Handler) string
}

// Restarter is a Harness whose Broker can be restarted.
type Restarter interface {
	Harness
	// Restart stops the Broker and starts it again with the same Triggers.
	Restart(t testing.TB)
}

// Run runs the suite. newHarness is called once for each test, which all run in
// parallel; it registers its own cleanup.
func Run(t *testing.T, newHarness func(t testing.TB) Harness) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Harness){
		"ingress answers":                   testIngress,
		"filters":                           testFilters,
		"fan-out":                           testFanOut,
		"modes and data":                    testModes,
		"attributes pass through":           testAttributes,
		"large event":                       testLargeEvent,
		"reply is published":                testReply,
		"reply that is no event":            testReplyNoEvent,
		"retried statuses":                  testRetried,
		"backoff grows":                     testBackoff,
		"timeout is retried":                testTimeout,
		"refused statuses are not retried":  testRefused,
		"dead letter after the last retry":  testDeadLetter,
		"dead letter of an absent endpoint": testAbsentEndpoint,
		"dead-letter sink is retried":       testDeadLetterRetried,
		"TTL ends a loop":                   testLoop,
		"nothing is lost":                   testNoLoss,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newHarness(t))
		})
	}
	runRestart(t, newHarness)
}

// runRestart runs the tests for a Broker that can be restarted.
func runRestart(t *testing.T, newHarness func(t testing.TB) Harness) {
	t.Run("restart", func(t *testing.T) {
		t.Parallel()
		if h, ok := newHarness(t).(Restarter); ok {
			testRestart(t, h)
		}
	})
}

// trigger is what the tests need of a Trigger.
type trigger struct {
	name       string
	filters    []any
	attributes map[string]string
	subscriber string
	delivery   map[string]any
}

// apply creates the Trigger at the harness's Broker.
func (tr trigger) apply(t testing.TB, h Harness) {
	t.Helper()
	namespace, broker := h.Broker()
	spec := map[string]any{"broker": broker, "subscriber": map[string]any{"uri": tr.subscriber}}
	if tr.filters != nil {
		spec["filters"] = tr.filters
	}
	if tr.attributes != nil {
		spec["filter"] = map[string]any{"attributes": tr.attributes}
	}
	if tr.delivery != nil {
		spec["delivery"] = tr.delivery
	}
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": "eventing.knative.dev/v1",
		"kind":       "Trigger",
		"metadata":   map[string]any{"name": tr.name, "namespace": namespace},
		"spec":       spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Apply(t, manifest)
}

// delivery returns settings with the shortest wait that Knative's durations
// can say, a tenth of a second.
func delivery(retries int, deadLetterSink string) map[string]any {
	d := map[string]any{"retry": retries, "backoffPolicy": "exponential", "backoffDelay": "PT0.1S", "timeout": "PT10S"}
	if deadLetterSink != "" {
		d["deadLetterSink"] = map[string]any{"uri": deadLetterSink}
	}
	return d
}

// exactType is a filter for one event type.
func exactType(eventType string) []any {
	return []any{map[string]any{"exact": map[string]string{"type": eventType}}}
}

func ingressURL(h Harness) string {
	namespace, broker := h.Broker()
	return fmt.Sprintf("%s/%s/%s", h.Ingress(), namespace, broker)
}
